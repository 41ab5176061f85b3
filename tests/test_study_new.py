"""`detdistill study new` writes a study that passes the check, whose numbers come from the data."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_data import BOXES, WIDTH, make_coco, make_voc

from detdistill import data
from detdistill.check import check
from detdistill.core.errors import UserError
from detdistill.dataset.manifest import load
from detdistill.new_study import new, statistics


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("own")


def read(*parts: str) -> dict:
    return yaml.safe_load(Path("params", *parts).read_text())


@pytest.mark.parametrize(("kind", "maker"), [("voc", make_voc), ("coco", make_coco)])
def test_the_study_is_whole_and_its_data_can_be_made(folder, kind, maker):
    maker(folder)
    assert new("mine", kind, folder, {}) == Path("params/mine")
    check("mine")
    data.make("mine")
    assert {name: entry.images for name, entry in load("mine").splits.items()} == {"train": 8, "val": 3, "test": 3}
    assert {run["recipe"] for run in read("mine", "study.yaml")["distilled"]} == {"fitnets", "pkd", "mimic", "crosskd"}


def test_anchors_and_size_come_from_the_boxes(folder):
    new("mine", "voc", make_voc(folder), {}, size=WIDTH)
    detector = read("mine", "faster_rcnn", "teacher.yaml")["detector"]
    sizes = sorted(((x1 - x0 + 1) * (y1 - y0 + 1)) ** 0.5 for x0, y0, x1, y1 in BOXES)
    assert detector["anchors"][0][0] == pytest.approx(sizes[0], abs=0.1)
    assert detector["anchors"][-1][-1] == pytest.approx(sizes[1], abs=0.1)
    assert detector["roi_canonical"] == 113  # 1.4 times the largest anchor
    assert read("mine", "data.yaml")["resize"] == WIDTH


def test_the_teacher_is_asked_once_where_its_answers_fit_and_images_are_of_one_size(folder, monkeypatch):
    def once(study: str) -> bool:
        new(study, "coco", folder, {})
        return read(study, "retinanet", "student.yaml")["training"].get("ask_teacher") == "once"

    make_coco(folder)
    assert once("mine")
    with monkeypatch.context() as patch:
        patch.setattr(statistics, "MOST_ANSWERS", 1e-6)
        assert not once("large")
    file = folder / "annotations/instances_train.json"
    content = json.loads(file.read_text())
    content["images"][0]["height"] -= 1
    file.write_text(json.dumps(content))
    assert not once("mixed")


def test_the_number_of_steps_grows_with_the_images(folder, tmp_path):
    make_coco(folder)
    file = folder / "annotations/instances_train.json"
    content = json.loads(file.read_text())
    content["images"] += [{**content["images"][0], "id": 1000 + each} for each in range(7992)]
    file.write_text(json.dumps(content))
    new("mine", "coco", folder, {})
    text = Path("params/mine/retinanet/teacher.yaml").read_text()
    assert "steps: 12000   # 12 passes over the 8000 training images" in text


def test_without_a_test_split_val_tests_and_some_of_train_validate(folder):
    make_voc(folder)
    (folder / "ImageSets/Main/test.txt").unlink()
    new("mine", "voc", folder, {})
    said = read("mine", "data.yaml")
    assert said["splits"] == {"train": ["train"], "test": ["val"]}
    assert said["hold_out"] == 1


def test_pixels_that_count_from_zero_are_noticed(folder):
    make_voc(folder)
    file = folder / "Annotations/img3.xml"
    file.write_text(file.read_text().replace("<xmin>10<", "<xmin>0<"))
    new("mine", "voc", folder, {})
    assert read("mine", "data.yaml")["first_pixel"] == 0


@pytest.mark.parametrize(
    ("name", "kind", "splits", "said"),
    [
        ("a-b", "voc", {}, "'a-b' cannot name a study"),
        ("mine", "voc", {"train": "trian"}, "--train: no image set 'trian' in own; did you mean 'train'"),
        ("mine", "coco", {}, "own: no split for train found; say --train"),
        ("mine", "coco", {"train": "a.json", "test": "a.json"}, "own/a.json: no such file"),
    ],
)
def test_what_cannot_become_a_study_writes_nothing(folder, name, kind, splits, said):
    make_voc(folder)
    with pytest.raises(UserError, match=said):
        new(name, kind, folder, splits)
    assert not Path("params").exists()


def test_an_existing_study_is_refused_and_kept(folder):
    make_voc(folder)
    new("mine", "voc", folder, {})
    before = Path("params/mine/study.yaml").read_bytes()
    with pytest.raises(UserError, match="params/mine: there is a study of this name"):
        new("mine", "voc", folder, {})
    assert Path("params/mine/study.yaml").read_bytes() == before


def test_the_command_line_needs_one_folder(folder):
    command = [sys.executable, "-m", "detdistill", "study", "new", "mine"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: study new: one of --voc DIR and --coco DIR is needed\n")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "maker"), [("voc", make_voc), ("coco", make_coco)])
def test_to_the_pdf(clone, kind, maker):
    made = clone(f"own_{kind}")
    maker(made.root / "own")
    made.run("detdistill", "study", "new", "mine", f"--{kind}", "own")
    for file in (made.root / "params/mine").glob("*/*.yaml"):
        said = yaml.safe_load(file.read_text())
        if "training" in said:  # as it was written, but for a few steps instead of many
            said["training"] |= {"steps": 5, "batch": 2, "evaluations": 1}
            file.write_text(yaml.safe_dump(said))
    made.run("snakemake", "--config", "study=mine")
    assert (made.root / "reports/mine.pdf").read_bytes().startswith(b"%PDF-")
