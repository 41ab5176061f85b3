"""COCO and VOC data become one manifest, and each fault of theirs is one sentence with file and field."""

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from small_data import BOXES, HEIGHT, SPLITS, WIDTH, make_coco, make_voc, voc_xml

from detdistill import data
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.data.annotate import taken
from detdistill.dataset import manifest

STUDY = "own"
VOC = {"kind": "voc", "folder": "raw/own", "splits": {split: [split] for split in SPLITS}}
COCO = {
    "kind": "coco",
    "folder": "raw/own",
    "splits": {split: {"annotations": f"annotations/instances_{split}.json", "images": split} for split in SPLITS},
}
XML = Path("raw/own/Annotations/img0.xml")
JSON = Path("raw/own/annotations/instances_train.json")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def voc(project):
    return make_voc(project / "raw/own")


@pytest.fixture
def coco(project):
    return make_coco(project / "raw/own")


def make(params: dict, **changes) -> manifest.Manifest:
    file = paths.params(STUDY, "data")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({**params, **changes}))
    data.make(STUDY)
    return manifest.load(STUDY)


def refuse(params: dict, **changes) -> str:
    """The one line that is said; no manifest and no images may be left."""
    with pytest.raises(UserError) as caught:
        make(params, **changes)
    assert "\n" not in str(caught.value)
    assert not paths.data(STUDY, "manifest.json").exists()
    assert not paths.data(STUDY, "images").exists()
    return str(caught.value)


def test_voc_images_stay_where_they_are(voc):
    made = make(VOC)
    assert made.classes == ["RBC", "WBC"]
    assert {name: entry.images for name, entry in made.splits.items()} == SPLITS
    split = made.split("train")
    image, targets = split[0]
    with Image.open(voc / "JPEGImages/img0.jpg") as opened:
        assert (image.permute(1, 2, 0).numpy() == np.array(opened)).all()
    (x0, y0, x1, y1), _ = BOXES
    assert targets["boxes"][0].tolist() == [x0 - 1, y0 - 1, x1, y1]
    assert targets["difficult"].tolist() == [False, True]
    assert not list(paths.data(STUDY, "images").iterdir())


def test_voc_pixels_may_count_from_zero(voc):
    assert make(VOC, first_pixel=0).split("train").records[0].boxes[0].tolist() == list(BOXES[0])


def test_coco_keeps_areas_and_crowds_and_orders_classes_by_id(coco):
    made = make(COCO)
    assert made.classes == ["WBC", "RBC"]
    record = made.split("test").records[0]
    assert record.boxes.tolist() == [list(map(float, box)) for box in BOXES]
    assert record.labels.tolist() == [1, 0]
    assert record.areas.tolist() == [1000.5, 1000.5]
    assert record.iscrowd.tolist() == [False, True]
    assert made.split("test").image(0).shape == (3, HEIGHT, WIDTH)


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_resized_images_are_written_and_boxes_and_areas_go_with_them(kind, request):
    request.getfixturevalue(kind)
    params = {"voc": VOC, "coco": COCO}[kind]
    whole, half = make(params).split("train").records[0], make(params, resize=WIDTH // 2)
    assert half.folder is None
    split = half.split("train")
    assert split.image(0).shape == (3, HEIGHT // 2, WIDTH // 2)
    assert torch.allclose(split.records[0].boxes, whole.boxes / 2)
    assert torch.allclose(split.records[0].areas, whole.areas / 4)


def test_what_is_very_long_keeps_a_pixel(voc):
    Image.new("RGB", (4000, 20)).save(voc / "JPEGImages/img0.jpg")
    XML.write_text(voc_xml([("RBC", (1, 1, 900, 20))], (4000, 20)))
    assert make(VOC, resize=96).split("train").image(0).shape == (3, 1, 96)


def test_classes_of_the_params_set_the_order(voc):
    assert make(VOC, classes=["WBC", "RBC"]).split("train").records[0].labels.tolist() == [1, 0]


def test_images_held_out_for_validation_leave_train_and_are_the_same_again(voc):
    splits = {"train": ["train"], "test": ["test"]}
    first, again = (make(VOC, splits=splits, hold_out={"val": 2}) for _ in range(2))
    assert first.digest == again.digest
    assert (first.splits["train"].images, first.splits["val"].images) == (6, 2)
    names = [{record.file_name for record in first.split(split).records} for split in ("train", "val")]
    assert not names[0] & names[1]


@pytest.mark.parametrize(
    ("corners", "box", "wrong"),
    [
        ((1, 2, 11, 22), (1, 2, 10, 20), None),
        ((-0.5, 0, 100.4, 50), (0, 0, 100, 50), None),
        ((-5, 0, 100, 60), (0, 0, 100, 50), "beyond the image"),
        ((4, 4, 4, 9), None, "no area"),
        ((9, 4, 4, 9), None, "swapped corners"),
        ((100, 0, 120, 9), None, "outside the image"),
        ((-9, 0, 0, 9), None, "outside the image"),
    ],
)
def test_which_boxes_are_taken(corners, box, wrong):
    assert taken(corners, 100, 50) == (box, wrong)


def test_faulty_voc_boxes_are_counted_and_named(voc):
    boxes = [(5, 5, 5, 5), (50, 5, 10, 20), (-9, -9, -2, -2), (100, 60, 170, 110), (10, 10, 20, 20)]
    XML.write_text(voc_xml([("RBC", box) for box in boxes]))
    made = make(VOC)
    entry = made.splits["train"]
    assert (entry.dropped, entry.clipped) == (3, 1)
    assert [(fault.reason, fault.done) for fault in entry.faults] == [
        ("no area", "dropped"),
        ("swapped corners", "dropped"),
        ("outside the image", "dropped"),
        ("beyond the image", "clipped"),
    ]
    assert {fault.image for fault in entry.faults} == {"JPEGImages/img0.jpg"}
    assert made.split("train").records[0].boxes.tolist() == [[99, 59, 160, 110], [9, 9, 20, 20]]


def test_faulty_coco_boxes_are_counted_and_named(coco):
    content = json.loads(JSON.read_text())
    for row, box in enumerate(([5, 5, 0, 9], [50, 5, -9, 9], [500, 5, 9, 9], [150, 110, 30, 30])):
        content["annotations"][row]["bbox"] = box
    JSON.write_text(json.dumps(content))
    entry = make(COCO).splits["train"]
    assert (entry.dropped, entry.clipped) == (3, 1)
    assert [fault.reason for fault in entry.faults] == [
        "no area",
        "swapped corners",
        "outside the image",
        "beyond the image",
    ]


BOMB = '<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "&b;&b;">]><annotation><object><name>&c;</name></object></annotation>'
EXTERNAL = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation><size>&b;</size></annotation>'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB, "img0.xml: refused: it defines or fetches entities"),
        (EXTERNAL, "img0.xml: refused: it defines or fetches entities"),
        ("<annotation>", "img0.xml: not XML"),
        (voc_xml([("RBC", ("nan", 1, 5, 5))]), "img0.xml: object 1: bndbox/xmin: a number is needed, found 'nan'"),
        (voc_xml([("RBC", (1, 1, 5, "far"))]), "img0.xml: object 1: bndbox/ymax: a number is needed, found 'far'"),
        (voc_xml([("", (1, 1, 5, 5))]), "img0.xml: object 1: name is missing"),
        (voc_xml([("RBC", (1, 1, 5, 5))], size=(120, 160)), "img0.xml: size: 120 x 160, but"),
        ("<annotation><object><name>a</name></object></annotation>", "object 1: bndbox is missing"),
    ],
)
def test_a_faulty_xml(voc, content, said):
    XML.write_text(content)
    assert said in refuse(VOC)


def test_a_class_that_is_not_in_the_list(voc):
    said = refuse(VOC, classes=["RBC", "WBCs"])
    assert ".xml: object 2: name: no class 'WBC'; did you mean 'WBCs'?" in said


def test_a_missing_xml_or_image(voc):
    XML.rename(XML.with_suffix(".away"))
    assert "img0.xml: no such file" in refuse(VOC)
    XML.with_suffix(".away").rename(XML)
    (voc / "JPEGImages/img0.jpg").unlink()
    assert "img0.xml: its image raw/own/JPEGImages/img0.jpg does not exist" in refuse(VOC)


def test_another_kind_of_xml(voc):
    XML.write_text("<html/>")
    assert "img0.xml: <annotation> is needed, found <html>" in refuse(VOC)


@pytest.mark.parametrize("resize", [None, 64])
def test_what_is_no_image(voc, resize):
    (voc / "JPEGImages/img0.jpg").write_bytes(b"no image")
    assert "img0.jpg: a broken or truncated image" in refuse(VOC, resize=resize)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"splits": {**VOC["splits"], "test": ["tets"]}}, "splits.test: no image set 'tets' in raw/own; did you mean"),
        ({"splits": {**VOC["splits"], "test": ["train"]}}, "img0.jpg of test is also JPEGImages/img0.jpg of train"),
        ({"splits": {"test": ["test"]}}, "splits: 'train' is missing; name it"),
        ({"hold_out": {"val": 0.5}}, "splits: both it and `hold_out` say 'val'; one is needed"),
        (
            {"splits": {"train": ["train"]}, "hold_out": {"val": 4, "test": 4}},
            "8 images of 'train' leave none for 'train'",
        ),
        ({"splits": {"train": ["train"]}, "hold_out": {"seed": 1}}, "hold_out: say `val`, `test` or both"),
        (
            {"splits": {"train": ["train"], "test": ["test"]}},
            "splits: 'val' is missing; name it, or set `hold_out: {val: 0.15}`",
        ),
        ({"splits": {"trian": ["train"]}}, "data.yaml: splits"),
        ({"folder": "raw/none"}, "folder: no folder 'raw/none'"),
        ({"annotations": "JPEGImages"}, ": no XML file in raw/own/JPEGImages"),
        (
            {
                "splits": {"train": ["train"], "test": ["test"]},
                "hold_out": {"val": 2, "same": [["JPEGImages/gone.jpg"]]},
            },
            "hold_out.same: 'JPEGImages/gone.jpg' is no image of 'train'",
        ),
    ],
)
def test_params_that_do_not_fit_the_data(voc, changes, said):
    assert said in refuse(VOC, **changes)


@pytest.mark.parametrize("kind", ["voc", "coco", "csv"])
def test_no_split_at_all(project, kind):
    (project / "raw/own").mkdir(parents=True)
    said = "splits: 'train' is missing; name it"
    assert said in refuse({"kind": kind, "folder": "raw/own", "splits": {}})


def test_nothing_that_can_be_used_and_nothing_to_learn(voc):
    for number in range(11, 14):
        (voc / f"JPEGImages/img{number}.jpg").write_bytes(b"no image")
    assert refuse(VOC, broken_images="skip") == "raw/own: no image of 'test' can be used"


def test_a_data_set_without_any_object(voc):
    for file in (voc / "Annotations").iterdir():
        file.write_text(voc_xml([]))
    assert refuse(VOC) == "raw/own: no object in any split, so there is no class"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("img0\nimg0\n", "line 2: 'img0' is listed twice"),
        ("img0 1\n", "line 1: the name of one image"),
        ("../a\n", "line 1"),
        ("\n", "splits: 'train' is empty"),
    ],
)
def test_a_faulty_image_set(voc, lines, said):
    (voc / "ImageSets/Main/train.txt").write_text(lines)
    assert said in refuse(VOC)


def of(field, value):
    return lambda content: content["annotations"][0].update({field: value})


def twice(key):
    return lambda content: content[key].append(content[key][0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of("bbox", [1, 2, float("nan"), 5]), "instances_train.json: annotations.0.bbox.2: input should be a finite"),
        (of("bbox", [1, 2, 3]), "annotations.0.bbox"),
        (of("image_id", 5), "instances_train.json: annotation 0: image_id: no image has id 5"),
        (of("category_id", 5), "instances_train.json: annotation 0: category_id: no category has id 5"),
        (twice("images"), "instances_train.json: images: two have id 100"),
        (twice("annotations"), "instances_train.json: annotations: two have id 0"),
        (twice("categories"), "instances_train.json: categories: two have id 7"),
        (lambda c: c["categories"][1].update(name="RBC"), "categories: two are called 'RBC'"),
        (
            lambda c: c["annotations"][3].update(category_id=5, id=None),
            "annotation 3: category_id: no category has id 5",
        ),
        (lambda c: c["categories"][1].update(name="other"), "categories: others than those of"),
        (
            lambda c: c["images"][0].update(file_name="gone.jpg"),
            "image 100: file_name: its image raw/own/train/gone.jpg",
        ),
        (lambda c: c["images"][0].update(file_name="../../8.jpg"), "'../../8.jpg' lies outside raw/own/train"),
        (lambda c: c["images"][0].update(width=7), "image 100: file_name: size: 7 x 120, but"),
        (lambda c: c.pop("images"), "instances_train.json: not a COCO file of objects: 'images' is missing"),
    ],
)
def test_a_faulty_coco_file(coco, change, said):
    content = json.loads(JSON.read_text())
    change(content)
    JSON.write_text(json.dumps(content))
    assert said in refuse(COCO)


def test_what_other_tools_write_into_a_coco_file(coco):
    expected = make(COCO).split("train").records
    content = json.loads(JSON.read_text())
    for image in content["images"]:
        image |= {"width": float(WIDTH), "file_name": f"..\\train\\{image['file_name']}"}
    for each in content["annotations"]:
        each["iscrowd"] = bool(each["iscrowd"])
        del each["id"]
    content["categories"].insert(0, {"id": 0, "name": "RBC", "supercategory": "none"})
    JSON.write_text(json.dumps(content))
    records = make(COCO).split("train").records
    assert [record.file_name for record in records] == [record.file_name for record in expected]
    for record, other in zip(records, expected, strict=True):
        assert record.boxes.tolist() == other.boxes.tolist()
        assert (record.labels.tolist(), record.iscrowd.tolist()) == (other.labels.tolist(), other.iscrowd.tolist())


def test_all_faulty_items_of_a_coco_file_are_told_at_once(coco):
    content = json.loads(JSON.read_text())
    content["images"][1]["width"] = 0
    del content["annotations"][2]["bbox"]
    content["categories"][0]["name"] = 5
    JSON.write_text(json.dumps(content))
    with pytest.raises(UserError, match="3 faults in the data") as caught:
        make(COCO)
    fields = ("images.1: width: ", "annotations.2: 'bbox' is missing", "categories.0: name: ")
    assert [field for field, line in zip(fields, caught.value.faults, strict=True) if field in line] == list(fields)


def test_all_repeated_ids_of_a_coco_file_are_told_at_once(coco):
    content = json.loads(JSON.read_text())
    content["images"] += content["images"][:2]
    JSON.write_text(json.dumps(content))
    with pytest.raises(UserError, match="2 faults in the data") as caught:
        make(COCO)
    assert ["two have id 100" in caught.value.faults[0], "two have id 101" in caught.value.faults[1]] == [True, True]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "an empty file"), (b'{"images" "annotations" "categories"', "not JSON"), (b"\x80" * 99, "not a COCO file")],
)
def test_what_is_no_coco_file(coco, content, said):
    JSON.write_bytes(content)
    assert f"instances_train.json: {said}" in refuse(COCO)


def test_much_of_other_json_is_refused_in_little_memory(coco):
    with open(JSON, "wb") as file:
        file.truncate(2**26)
        file.write(b"[1, 2,")
    tracemalloc.start()
    try:
        assert "not a COCO file of objects: 'images' is missing" in refuse(COCO)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "hex"])
def test_an_encoding_that_xml_cannot_have(voc, encoding):
    XML.write_text(f'<?xml version="1.0" encoding="{encoding}"?><annotation/>')
    assert "not XML: " in refuse(VOC)


def test_an_underscore_is_no_digit(voc):
    XML.write_text(XML.read_text().replace("<xmin>", "<xmin>1_", 1))
    assert "bndbox/xmin: a number is needed, found '1_" in refuse(VOC)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000])
def test_a_name_that_no_file_can_have(coco, name):
    content = json.loads(JSON.read_text())
    content["images"][0]["file_name"] = name
    JSON.write_text(json.dumps(content))
    assert len(refuse(COCO)) < 1100


@pytest.mark.parametrize(("name", "said"), [("pipe", "a pipe or a device"), ("zero", "a pipe or a device")])
def test_an_image_without_an_end(coco, name, said):
    image = sorted((coco / "train").iterdir())[0]
    image.unlink()
    if name == "pipe":
        os.mkfifo(image)
    else:
        image.symlink_to("/dev/zero")
    assert said in refuse(COCO)


def test_a_box_beyond_the_largest_number_and_one_that_single_precision_cannot_hold(coco):
    content = json.loads(JSON.read_text())
    before = make(COCO).splits["train"]
    content["annotations"][0]["bbox"] = [10.0, 10.0, 1e-9, 1e-9]
    JSON.write_text(json.dumps(content))
    after = make(COCO).splits["train"]
    assert (after.boxes, after.dropped) == (before.boxes - 1, before.dropped + 1)
    content["annotations"][0]["bbox"] = [1e308] * 4
    JSON.write_text(json.dumps(content))
    with pytest.raises(UserError, match="ends beyond the largest number"):
        make(COCO)
