"""`detdistill study new` writes a study that passes the check, whose numbers come from the data."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_data import BOXES, CLASSES, HEIGHT, WIDTH, make_coco, make_voc

from detdistill import data
from detdistill.check import check
from detdistill.core.errors import UserError
from detdistill.dataset.manifest import load
from detdistill.dataset.prepared import Annotations, Object
from detdistill.new_study import new, said, statistics
from detdistill.new_study.cost import minutes
from detdistill.new_study.statistics import Statistics


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("own")


def read(*parts: str) -> dict:
    return yaml.safe_load(Path("params", *parts).read_text())


@pytest.mark.parametrize(("kind", "maker"), [("voc", make_voc), ("coco", make_coco)])
def test_the_study_is_whole_and_its_data_can_be_made(folder, kind, maker):
    maker(folder)
    assert new("mine", folder).folder == Path("params/mine")
    check("mine")
    assert read("mine", "data.yaml")["kind"] == kind
    data.make("mine")
    assert {name: entry.images for name, entry in load("mine").splits.items()} == {"train": 8, "val": 3, "test": 3}
    assert {run["recipe"] for run in read("mine", "study.yaml")["distilled"]} == {"fitnets", "pkd", "mimic", "crosskd"}


def test_anchors_and_size_come_from_the_boxes(folder):
    new("mine", make_voc(folder), size=WIDTH)
    detector = read("mine", "faster_rcnn", "teacher.yaml")["detector"]
    sizes = sorted(((x1 - x0 + 1) * (y1 - y0 + 1)) ** 0.5 for x0, y0, x1, y1 in BOXES)
    assert detector["anchors"][0][0] == pytest.approx(sizes[0], abs=0.1)
    assert detector["anchors"][-1][-1] == pytest.approx(sizes[1], abs=0.1)
    assert detector["roi_canonical"] == 113  # 1.4 times the largest anchor
    assert read("mine", "data.yaml")["resize"] == WIDTH


def annotated(count: int, width: int = WIDTH, times: int = 1, scale: float = 1.0) -> Annotations:
    """So many images with both boxes, so many `times` and `scale`d; the last one is `width` pixels wide."""
    noted = Annotations(CLASSES)
    boxes = [(x0, y0, scale * (x1 - x0), scale * (y1 - y0)) for x0, y0, x1, y1 in BOXES]
    objects = [Object(box, label) for label, box in enumerate(boxes)] * times
    for number in range(count):
        noted.add_image(f"{number}.jpg", width if number == count - 1 else WIDTH, HEIGHT, objects)
    return noted


def test_the_teacher_is_asked_once_where_its_answers_fit_and_images_are_of_one_size(monkeypatch):
    assert Statistics.of(annotated(8), 2).answers_gib is not None
    assert Statistics.of(annotated(8, WIDTH + 1), 2).answers_gib is None
    monkeypatch.setattr(statistics, "MOST_ANSWERS", 1e-6)
    assert Statistics.of(annotated(8), 2).answers_gib is None


def test_images_are_never_enlarged():
    large, small = (Statistics.of(annotated(8), 2, size=size) for size in (4 * WIDTH, WIDTH))
    assert large == small
    assert Statistics.of(annotated(8, times=3), 2).size <= WIDTH
    mixed = Annotations(CLASSES)
    for number, times in enumerate((1, 1, 1, 8)):  # the last one is shrunk to a quarter, all others stay
        mixed.add_image(f"{number}.jpg", 100 * times, 100 * times, [Object((0, 0, 40 * times, 40 * times), 0)])
    found = Statistics.of(mixed, 2, size=200)
    assert found.smallest == 40.0
    assert found.anchors[-1][-1] == pytest.approx(40 + 0.94 * 40, abs=0.1)  # of 40, 40, 40, 80, the 98th percentile


def test_the_number_of_steps_grows_with_the_images():
    assert Statistics.of(annotated(8000), 2).teacher_steps == 12000  # 12 passes in batches of 8


def test_a_student_of_a_small_set_sees_as_many_boxes_as_it_needs():
    def steps(times: int) -> int:
        return Statistics.of(annotated(200, times=times), 2).student_steps

    assert steps(3) == 300  # 15,000 boxes, six an image, eight images a step
    assert steps(20) == 150
    assert Statistics.of(annotated(200, times=3), 2).teacher_steps == 1200


@pytest.mark.parametrize("count", [150, 400])
@pytest.mark.parametrize("times", [1, 3, 10])
@pytest.mark.parametrize("scale", [0.1, 0.3, 1.0])
def test_a_study_of_a_small_set_takes_less_than_an_hour(count, times, scale):
    found = Statistics.of(annotated(count, times=times, scale=scale), 2)
    assert found.minutes < 60
    assert found.size <= found.whole_size


@pytest.mark.parametrize(
    ("area", "teacher", "student", "measured"),
    [(160 * 120, 900, 150, 18), (128 * 96, 1000, 150, 16), (96 * 72, 1800, 450, 19)],
)
def test_minutes_of_the_studies_that_they_were_measured_on(area, teacher, student, measured):
    assert minutes(area, teacher, student) == pytest.approx(measured, rel=0.33)


def test_a_study_that_is_refused_leaves_nothing(folder):
    with pytest.raises(UserError, match=r"title: .*at most 200 characters"):
        new("mine", make_voc(folder), title="x" * 201)
    assert list(Path("params").iterdir()) == []


def test_small_objects_and_rare_classes_are_told():
    found = Statistics.of(annotated(200, scale=0.15), 2, size=96)
    few, none = annotated(3), Annotations(CLASSES)
    none.add_image("x.jpg", WIDTH, HEIGHT, [])
    told = said.proposal(found, {"train": few, "val": few, "test": none}, CLASSES, CLASSES)
    assert any(f"--size {found.whole_size} has them" in line for line in told)
    assert any(
        "few objects to train and test with" in line and "RBC (3 and 0) and WBC (3 and 0)" in line for line in told
    )


def test_images_without_a_box_teach_nothing():
    with pytest.raises(UserError, match="no box in the training images"):
        Statistics.of(Annotations(CLASSES), 2)


def test_without_a_test_split_val_tests_and_some_of_train_validate(folder):
    make_voc(folder)
    (folder / "ImageSets/Main/test.txt").unlink()
    new("mine", folder)
    said = read("mine", "data.yaml")
    assert said["splits"] == {"train": ["train"], "test": ["val"]}
    assert said["hold_out"] == {"val": 0.15, "seed": 0}


def test_pixels_that_count_from_zero_are_noticed(folder):
    make_voc(folder)
    file = folder / "Annotations/img3.xml"
    file.write_text(file.read_text().replace("<xmin>10<", "<xmin>0<"))
    told = new("mine", folder).said
    assert read("mine", "data.yaml")["first_pixel"] == 0
    assert any(
        "one object begins at 0 (own/Annotations/img3.xml: object 1), so pixels count from 0" in line for line in told
    )


@pytest.mark.parametrize(
    ("name", "splits", "said"),
    [
        ("a-b", {}, "'a-b' cannot name a study"),
        ("mine", {"train": "trian"}, "--train: no image set 'trian' in own; did you mean 'train'"),
    ],
)
def test_what_cannot_become_a_study_writes_nothing(folder, name, splits, said):
    make_voc(folder)
    with pytest.raises(UserError, match=said):
        new(name, folder, splits)
    assert not Path("params").exists()


def test_an_existing_study_is_refused_and_kept(folder):
    make_voc(folder)
    new("mine", folder)
    before = Path("params/mine/study.yaml").read_bytes()
    with pytest.raises(UserError, match="params/mine: there is a study of this name"):
        new("mine", folder)
    assert Path("params/mine/study.yaml").read_bytes() == before


def test_the_command_line_says_what_it_found(folder):
    make_voc(folder)
    command = [sys.executable, "-m", "detdistill", "study", "new", "mine", "own"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert said[0] == (
        "own: 14 images, VOC files in Annotations/, images in JPEGImages/, lists in ImageSets/Main/, "
        "2 classes (RBC, WBC), splits as they are: 8 train, 3 val and 3 test"
    )
    assert said[-1] == "wrote params/mine; edit what you like, then: snakemake --config study=mine"
    done = subprocess.run([*command[:-1], "none"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: params/mine: there is a study of this name\n")


@pytest.mark.slow
def test_to_the_pdf(clone):
    made = clone("own")
    make_voc(made.root / "own")
    made.run("detdistill", "study", "new", "mine", "own", "--kind", "voc")
    for file in (made.root / "params/mine").glob("*/*.yaml"):
        said = yaml.safe_load(file.read_text())
        if "training" in said:  # as it was written, but for a few steps instead of many
            said["training"] |= {"steps": 5, "batch": 2, "evaluations": 1}
            file.write_text(yaml.safe_dump(said))
    plan = made.root / "params/mine/study.yaml"
    plan.write_text(plan.read_text().replace("seeds: [0, 1, 2]", "seeds: [0]"))
    made.run("snakemake", "--config", "study=mine")
    assert (made.root / "reports/mine.pdf").read_bytes().startswith(b"%PDF-")
