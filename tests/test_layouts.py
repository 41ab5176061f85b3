"""`study new` on data as people keep them: the same boxes from every layout, and one line for what cannot be read."""

import json
import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import yaml
from layouts import NAMES, PARTS, SPLIT, WHOLE, coco, images, table, texts, voc_annots, voc_lists, xmls
from PIL import Image
from small_data import BOXES, CLASSES, HEIGHT, WIDTH

from detdistill import data
from detdistill.core.errors import UserError
from detdistill.data.hold_out import HoldOut, draw, group
from detdistill.dataset.manifest import load
from detdistill.new_study import new


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("own")


def made(own: Path, *args, **kwargs) -> tuple[list[str], dict[str, list[str]]]:
    """What is said, and the stems of each split once the study's data are made, their boxes compared."""
    said = new("mine", own, *args, **kwargs).said
    file = Path("params/mine/data.yaml")
    file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("resize")))
    data.make("mine")
    manifest, parts = load("mine"), {}
    for split in ("train", "val", "test"):
        records = manifest.split(split).records
        parts[split] = sorted(Path(record.file_name).stem for record in records)
        for record in records:
            names = [manifest.classes[label] for label in record.labels.tolist()]
            assert dict(zip(names, record.boxes.round().tolist(), strict=True)) == {
                name: list(map(float, box)) for name, box in zip(CLASSES, BOXES, strict=True)
            }
            assert manifest.split(split).image(0).shape[0] == 3
    return said, parts


def refused(own: Path, *args, **kwargs) -> UserError:
    with pytest.raises(UserError) as caught:
        new("mine", own, *args, **kwargs)
    assert "\n" not in str(caught.value)
    assert not Path("params").exists()
    return caught.value


@pytest.mark.parametrize("layout", WHOLE)
def test_data_without_splits_are_drawn_by_seed(own, layout):
    WHOLE[layout](own)
    before = sorted(own.parent.rglob("*"))
    said, parts = made(own)
    assert said[0].startswith("own: 14 images, ")
    assert (
        "2 classes (RBC, WBC), no splits: 70/15/15 by seed 0, written into the params: 10 train, 2 val and 2 test"
        in said[0]
    )
    assert sorted(chain.from_iterable(parts.values())) == sorted(NAMES)
    written = yaml.safe_load(Path("params/mine/data.yaml").read_text())["hold_out"]
    assert written == {"val": 0.15, "test": 0.15, "seed": 0}
    assert [path for path in sorted(own.parent.rglob("*")) if path.parts[0] not in ("params", "data")] == before
    other = draw([f"{name}.jpg" for name in NAMES], own, HoldOut(val=0.15, test=0.15, seed=1))
    assert {Path(name).stem for name, split in other.items() if split == "test"} != set(parts["test"])


@pytest.mark.parametrize("layout", SPLIT)
def test_splits_are_found_by_their_names(own, layout):
    SPLIT[layout](own)
    said, parts = made(own)
    assert parts == {split: sorted(names) for split, names in PARTS.items()}
    assert "splits as they are: 8 train, 3 val and 3 test" in said[0]


def test_lists_called_trainval_and_test(own):
    voc_lists(own)
    said, parts = made(own)
    assert "no split for val: 15 % of train by seed 0" in said[0]
    assert parts["test"] == sorted(NAMES[11:])
    assert len(parts["val"]) == 2


def test_a_folder_that_is_called_like_no_split_is_told(own):
    SPLIT["voc_export"](own)
    (own / "test").rename(own / "more")
    said, parts = made(own)
    assert "left out, though it could be a split: more; --train, --val and --test can say otherwise" in said
    assert set(chain.from_iterable(parts.values())) == {*PARTS["train"], *PARTS["val"]}


def test_lines_of_a_table_that_are_of_no_split_are_told(own):
    SPLIT["csv_column"](own)
    (own / "all.csv").write_text((own / "all.csv").read_text().replace(",validation", ",unused"))
    assert any("lines of all.csv with split 'unused'" in line for line in made(own)[0])
    shutil.rmtree("params")
    assert made(own / "all.csv")[1]["test"] == sorted(PARTS["test"])


def test_several_files_for_one_split(own):
    for name in ("train", "old_test", "new_test"):
        coco(images(own / name, NAMES) / f"{name}.json", NAMES)
    assert "several could be test: new_test/new_test.json, old_test/old_test.json; say --test" in str(refused(own))


def test_the_only_file_cannot_test(own):
    images(own / "images", NAMES)
    coco(own / "test.json", NAMES)
    said = "--test: 'test.json' is the only COCO file in own, and none is left to train with"
    assert str(refused(own, {"test": "test.json"})) == said


@pytest.mark.parametrize("file", ["labels/all.json", "labels/all.csv"])
def test_one_file_instead_of_a_folder(own, file):
    images(own / "photos", NAMES)
    (own / "labels").mkdir()
    coco(own / "labels/all.json", NAMES)
    table(own / "labels/all.csv", NAMES, header=True)
    said, _ = made(own / file)
    assert f"in {file}, images in photos/" in said[0]
    shutil.rmtree("params")
    assert "one file has no --train; give its folder" in str(refused(own / file, {"train": "x"}))


def test_several_kinds_are_told_and_one_can_be_named(own):
    voc_annots(own)
    texts(own / "labels", NAMES)
    (own / "classes.txt").write_text("\n".join(CLASSES))
    said, _ = made(own)
    assert said[0].endswith("; also yolo, which --kind yolo takes instead")
    shutil.rmtree("params")
    assert "YOLO files" in made(own, kind="yolo")[0][0]


def test_classes_without_an_object_are_left_out(own):
    WHOLE["coco_whole"](own)
    content = json.loads((own / "labels.json").read_text())
    content["categories"].append({"id": 9, "name": "cells"})
    (own / "labels.json").write_text(json.dumps(content))
    said, _ = made(own)
    assert "left out, for want of any object: one class, cells" in said
    assert load("mine").classes == list(CLASSES)


def test_images_that_no_annotation_names_are_told(own):
    voc_annots(own)
    (own / "annots/cell9.xml").unlink()
    said, parts = made(own)
    assert "one image that no annotation names is left out: images/cell9.jpg" in said
    assert sum(map(len, parts.values())) == 13


def test_hidden_files_beside_the_images_are_not_told(own):
    voc_annots(own)
    (own / "images/._cell0.jpg").write_bytes(b"of a Mac")
    assert not any("no annotation names" in line for line in made(own)[0])


def drawn(own: Path, folder: str) -> None:
    """Images of the same names, with other pixels."""
    for file in images(own / folder, NAMES).iterdir():
        Image.new("RGB", (WIDTH, HEIGHT), (int(file.stem.removeprefix("cell")), 0, 0)).save(file)


@pytest.mark.parametrize(
    ("layout", "beside", "home"),
    [
        ("voc_lists", "AnnotationsVisualization", "JPEGImages"),
        ("voc_annots", "aimages", "images"),
        ("coco_whole", "annotated", "images"),
        ("csv_header", "drawn", "images"),
        ("csv_header", "depth", "images"),
    ],
)
def test_images_are_not_taken_from_a_folder_of_pictures_of_them(own, layout, beside, home):
    {**WHOLE, "voc_lists": voc_lists}[layout](own)
    drawn(own, beside)
    assert f"images in {home}/" in made(own)[0][0]


def test_a_table_of_one_crowded_image(own):
    WHOLE["csv_header"](own)
    file = own / "annotations.csv"
    head, first, *others = file.read_text().splitlines()
    file.write_text("\n".join([head, *[first] * 100, *others]))
    assert "images in images/" in made(own)[0][0]


def test_names_that_go_up_and_down_again(own):
    images(own / "images", NAMES)
    coco(own / "ann/all.json", NAMES)
    (own / "ann/all.json").write_text((own / "ann/all.json").read_text().replace('"cell', '"..\\\\images\\\\cell'))
    assert "a COCO file in ann/all.json, images in images/" in made(own)[0][0]


def test_images_in_two_folders_are_taken_from_neither(own):
    coco(own / "a.json", NAMES)
    for folder in ("infrared", "visible"):
        drawn(own, folder)
    xmls(own / "annots", NAMES)
    said = "own/a.json: its images are in infrared/ and also in visible/; give own and say --train a.json:FOLDER"
    assert str(refused(own, kind="coco")) == str(refused(own / "a.json")) == said
    assert "own/annots: its images are in infrared/ and also in visible/; call the right one" in str(refused(own))
    assert "images in visible/" in made(own, {"train": "a.json:visible"}, kind="coco")[0][0]


def test_voc_files_in_several_folders(own):
    for day, names in (("day1", NAMES[:7]), ("day2", NAMES[7:])):
        images(own / day / "images", names)
        xmls(own / day / "annots", names)
    assert "no splits: 70/15/15" in made(own)[0][0]
    xmls(own / "old", NAMES[:2])
    shutil.rmtree("params")
    assert "which folder of VOC files is for training? day1/annots, day2/annots, old; say --train" in str(refused(own))


@pytest.mark.parametrize(
    ("write", "file", "what"), [(coco, "labels.json", "COCO file"), (table, "labels.csv", "table")]
)
def test_files_of_several_folders(own, write, file, what):
    more = {"header": True} if write is table else {}
    for day, names in (("day1", NAMES[:7]), ("day2", NAMES[7:])):
        write(images(own / day, names) / file, names, **more)
    said, parts = made(own)
    assert f"in day1/{file}, images in day1/; a" in said[0]
    assert "no splits: 70/15/15" in said[0]
    assert sorted(chain.from_iterable(parts.values())) == sorted(NAMES)
    write(own / "day1" / f"old_{file}", NAMES[:2], **more)
    shutil.rmtree("params")
    told = f"own: which {what} is for training? day1/{file}, day1/old_{file}, day2/{file}; say --train"
    assert str(refused(own)) == told


def test_a_column_of_splits_in_several_tables(own):
    for day, names in (("day1", NAMES[:7]), ("day2", NAMES[7:])):
        table(images(own / day, names) / "labels.csv", names, header=True)
        head, *rows = (own / day / "labels.csv").read_text().splitlines()
        splits = [("train", "val", "test")[row // 2 % 3] for row in range(len(rows))]
        rows = [f"{row},{split}" for row, split in zip(rows, splits, strict=True)]
        (own / day / "labels.csv").write_text("\n".join([f"{head},split", *rows]))
    said, parts = made(own)
    assert "splits by a column" in said[0]
    assert parts["test"] == sorted(NAMES[2:7:3] + NAMES[9::3])
    shutil.rmtree("params")
    table(own / "day1/labels.csv", NAMES[:7], header=True)
    assert "own/day1/labels.csv: no column that tells the split" in str(refused(own))


def test_a_column_of_splits_where_the_folder_of_images_is_said(own):
    SPLIT["csv_column"](own)
    shutil.copytree(own / "images", own / "images2")
    said, parts = made(own, {"train": "all.csv:images2"})
    assert "images in images2/, splits by a column" in said[0]
    assert parts == {split: sorted(names) for split, names in PARTS.items()}


def test_folders_of_images_called_like_the_files_that_name_them(own):
    for day, names in (("day1", NAMES[:7]), ("day2", NAMES[7:])):
        images(own / "images" / day, NAMES)
        coco(own / "annotations" / f"{day}.json", names)
    said, _ = made(own)
    assert "day1.json, images in images/day1/; a COCO file in annotations/day2.json, images in images/day2/" in said[0]


def test_coco_files_of_other_categories_are_joined_by_name(own):
    for day, names in (("day1", NAMES[:7]), ("day2", NAMES[7:])):
        coco(images(own / day, names) / "labels.json", names)
    file = own / "day2/labels.json"
    content = json.loads(file.read_text())
    content["categories"] = [{"id": 0, "name": "WBC"}, {"id": 1, "name": "Platelets"}]
    file.write_text(json.dumps(content))
    assert "3 classes (RBC, WBC, Platelets)" in new("mine", own).said[0]
    data.make("mine")
    manifest = load("mine")
    assert manifest.classes == ["RBC", "WBC", "Platelets"]
    labels = chain.from_iterable(each.labels.tolist() for split in PARTS for each in manifest.split(split).records)
    assert sorted(labels) == [0] * 7 + [1] * 14 + [2] * 7


def test_a_list_without_one_to_train_with_is_told(own):
    voc_annots(own)
    (own / "test.txt").write_text("\n".join(NAMES[:3]))
    assert any(line.startswith("left out, though it could be a split: test.txt;") for line in made(own)[0])


def test_files_of_a_mac_and_names_with_spaces(own):
    voc_lists(own)
    for name in NAMES:
        (own / f"annotations/._{name}.xml").write_bytes(b"\0\5\26\7Mac OS X")
        (own / f"JPEGImages/._{name}.jpg").write_bytes(b"\0\5\26\7Mac OS X")
        (own / f"annotations/{name}.xml").rename(own / f"annotations/{name.replace('cell', 'a cell ')}.XML")
        (own / f"JPEGImages/{name}.jpg").rename(own / f"JPEGImages/{name.replace('cell', 'a cell ')}.jpg")
    for file in (own / "ImageSets/Main").iterdir():
        suffix = ".jpg" if file.stem == "test" else ""
        file.write_text("".join(f"{line.replace('cell', 'a cell ')}{suffix}\n" for line in file.read_text().split()))
    assert made(own)[1]["test"] == sorted(name.replace("cell", "a cell ") for name in NAMES[11:])


def test_another_kind_that_cannot_be_read_is_no_obstacle(own):
    voc_annots(own)
    table(own / "old.csv", ["gone1", "gone2"], header=True)
    assert "VOC files" in made(own)[0][0]
    shutil.rmtree("params")
    shutil.rmtree("data")
    assert "own/old.csv: its images, 'gone1.jpg' and so on, are not in" in str(refused(own, kind="csv"))


def test_the_frames_of_a_video_stay_together(own):
    videos = [f"{video}_{frame:03d}" for video in ("bus", "car", "dog", "fox", "owl", "elk", "cow") for frame in (1, 2)]
    images(own / "images", NAMES)
    for name, video in zip(NAMES, videos, strict=True):
        (own / f"images/{name}.jpg").rename(own / f"images/{video}.jpg")
    xmls(own / "annotations", videos)
    said, parts = made(own)
    assert "the frames of 7 videos kept together" in said[0]
    shown = [{name.partition("_")[0] for name in names} for names in parts.values()]
    assert [len(each) for each in shown] == [5, 1, 1]
    assert len(set.union(*shown)) == 7


def test_names_with_running_numbers_alone_are_no_videos(own):
    voc_annots(own)  # cell0 to cell13
    assert "videos" not in made(own)[0][0]


@pytest.mark.parametrize(
    ("file", "together", "name"),
    [
        ("a/IMG_0001.jpg", "images", "a/IMG_0001"),
        ("a/car-frame_12.jpg", "videos", "a/car"),
        ("a/car12.jpg", "videos", "a/car"),
        ("a/x_jpg.rf.0a1b2c.jpg", "images", "a/x"),
        ("a/x_7_jpg.rf.0a1b2c.jpg", "videos", "a/x"),
        ("a/x_webp.rf.0a1b2c.jpg", "images", "a/x"),
    ],
)
def test_what_is_of_one_group(file, together, name):
    assert group(file, together) == name


def test_copies_of_a_file_are_drawn_as_one(tmp_path):
    for number in range(20):
        (tmp_path / f"{number}.jpg").write_bytes(bytes([number // 2]))
    drawn = draw([f"{number}.jpg" for number in range(20)], tmp_path, HoldOut(val=4, test=4))
    assert len(drawn) == 8
    assert all(drawn.get(f"{number}.jpg") == drawn.get(f"{number + 1}.jpg") for number in range(0, 20, 2))


def test_copies_of_copies_are_drawn_as_one(tmp_path):
    """Files 0 and 1 are copies of one picture's export, 1 and 2 are of the same bytes, 2 and 3 are copies again."""
    names = [f"{place}{copy}_jpg.rf.{copy % 2}a.jpg" for place in range(20) for copy in range(4)]
    files = [name.replace("1_", "0_").replace("3_", "2_") for name in names]
    for row, file in enumerate(files):
        (tmp_path / file).write_bytes(bytes([row - 1 if row % 4 == 2 else row]))
    for seed in range(5):
        drawn = draw(files, tmp_path, HoldOut(val=0.15, test=0.15, seed=seed))
        assert len(drawn) == 24
        assert all(len({drawn.get(file) for file in files[row : row + 4]}) == 1 for row in range(0, 80, 4))


def test_draws_of_earlier_versions_stay(tmp_path):
    """Groups by bytes and groups by name apart: their names, which the order is drawn by, are as they were."""
    files = [f"{number}_jpg.rf.{copy}.jpg" for number in range(10) for copy in "ab"] + [f"b{row}.png" for row in (1, 2)]
    for row, file in enumerate(files):
        (tmp_path / file).write_bytes(bytes([min(row, 20)]))
    drawn = draw(files, tmp_path, HoldOut(val=0.2, test=0.2))
    assert [file for file in files if drawn.get(file) == "val"] == files[2:6]
    assert [file for file in files if drawn.get(file) == "test"] == [*files[8:10], *files[12:14]]


def test_the_same_pixels_in_other_bytes_are_drawn_as_one(own):
    voc_annots(own)
    for name in NAMES[:5]:
        with Image.open(own / f"images/{name}.jpg") as picture:
            picture.save(own / f"images/{name}.png")
            picture.save(own / f"images/{name}_again.png", compress_level=1)
        (own / f"images/{name}.jpg").unlink()
        shutil.copyfile(own / f"annots/{name}.xml", own / f"annots/{name}_again.xml")
    for seed in range(4):
        _, parts = made(own, seed=seed)
        assert all((name in names) == (f"{name}_again" in names) for names in parts.values() for name in NAMES[:5])
        same = yaml.safe_load(Path("params/mine/data.yaml").read_text())["hold_out"]["same"]
        assert same == [[f"images/{name}.png", f"images/{name}_again.png"] for name in sorted(NAMES[:5])]
        shutil.rmtree("params")


def test_all_faults_are_listed_and_broken_images_can_be_left_out(own):
    voc_annots(own)
    whole = (own / "images/cell3.jpg").read_bytes()
    (own / "images/cell3.jpg").write_bytes(whole[: len(whole) // 2])
    (own / "images/cell5.jpg").unlink()
    (own / "annots/cell7.xml").write_text("<annotation>")
    said = refused(own)
    assert str(said).startswith("3 faults in the data, listed above, the first of them: ")
    assert str(said).endswith("`--broken-images skip` of study new, leaves out images that cannot be used")
    assert [line.partition(": ")[0] for line in sorted(said.faults)] == [
        "own/annots/cell5.xml", "own/annots/cell7.xml", "own/images/cell3.jpg"
    ]  # fmt: skip
    told, parts = made(own, broken_images="skip")
    assert "3 images left out:" in told
    assert not {"cell3", "cell5", "cell7"} & set(chain.from_iterable(parts.values()))
    gone = [each for split in load("mine").splits.values() for each in split.skipped]
    assert sorted(Path(each.image).stem for each in gone) == ["cell3", "cell5", "cell7"]
    assert any(each.reason.startswith("a broken or truncated image") for each in gone)


def test_an_image_that_exif_turns(own):
    voc_annots(own)
    with Image.open(own / "images/cell3.jpg") as picture:
        turned = Image.Exif()
        turned[0x112] = 6
        picture.save(own / "images/cell3.jpg", exif=turned)
    said = "size: 160 x 120, but own/images/cell3.jpg is 120 x 160, as its EXIF orientation turns it; if its boxes are"
    assert said in str(refused(own))


def test_the_data_step_lists_all_faults_too_and_leaves_no_manifest(own):
    voc_annots(own)
    new("mine", own)
    for name in ("cell1", "cell2"):
        (own / f"images/{name}.jpg").write_bytes(b"no image")
    command = [sys.executable, "-m", "detdistill", "data", "--study", "mine"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (2, 3)
    assert lines[2].startswith("error: 2 faults in the data")
    assert not Path("data/mine/manifest.json").exists()


def yolo(own: Path, line: str) -> None:
    images(own / "images", NAMES)
    texts(own / "labels", NAMES)
    (own / "data.yaml").write_text(f"names: {list(CLASSES)}\n")
    (own / "labels/cell4.txt").write_text(line + "\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2 0.5 0.5 0.1 0.1", "line 1: class 2: the names go from 0 to 1"),
        ("0.5 0.5 0.5 0.1 0.1", "line 1: class 0.5: the names go from 0 to 1"),
        ("0 0.5 1.5 0.1 0.1", "line 1: shares of the image's sides, 0 to 1, are needed; found 1.5"),
        ("0 -0.1 0.5 0.1 0.1", "line 1: shares of the image's sides, 0 to 1, are needed; found -0.1"),
        ("0 nan 0.5 0.1 0.1", "line 1: shares of the image's sides, 0 to 1, are needed; found nan"),
        ("0 0.5 0.5 0.1 0.1 0.9", "a class and 4 numbers, or 6 and more of a polygon, are needed; found 6"),
        ("RBC 0.5 0.5 0.1 0.1", "line 1: numbers are needed, found 'RBC 0.5 0.5 0.1 0.1'"),
    ],
)
def test_a_faulty_line_of_yolo(own, line, said):
    yolo(own, line)
    assert re.match(rf"own/labels/cell4\.txt: (line 1: )?{re.escape(said)}", str(refused(own)))


@pytest.mark.parametrize(
    ("pictures", "labels", "said"),
    [
        ("images", "images", "beside"),
        ("images/train", "labels", "labels"),
        ("JPEGImages", "labels", "labels"),
        ("img", "txt", "txt"),
        ("Images", "Labels", "Labels"),
    ],
)
def test_labels_that_lie_elsewhere(own, pictures, labels, said):
    images(own / pictures, NAMES)
    texts(own / labels, NAMES)
    (own / "data.yaml").write_text(f"train: {pictures}\nval: {pictures}\nnames: {list(CLASSES)}\n")
    made(own)
    assert yaml.safe_load(Path("params/mine/data.yaml").read_text())["labels"] == said
    shutil.rmtree(own / labels)
    shutil.rmtree("params")
    images(own / pictures, NAMES)
    assert "no image below own has a text file: looked for " in str(refused(own))


def test_lists_of_folders_and_numbers_in_quotes(own):
    SPLIT["yolo_described"](own)
    said = "train: [images/train]\nval: [images/val, images/test]\nnames: {'1': WBC, '0': RBC}\n"
    (own / "data.yaml").write_text(said)
    assert made(own)[1]["test"] == sorted([*PARTS["val"], *PARTS["test"]])


@pytest.mark.parametrize("above", ["", "data/", "/home/me/set/", "./"])
def test_a_list_that_was_made_elsewhere(own, above):
    SPLIT["yolo_described"](own)
    for split, names in PARTS.items():
        lines = [f"{above}images/{split}/{name}.jpg" for name in names]
        (own / f"{split}.txt").write_text("\n".join(lines) + "\n")
    said = "path: /home/me/set\ntrain: train.txt\nval: val.txt\ntest: test.txt\n"
    (own / "data.yaml").write_text(f"{said}names: {list(CLASSES)}\n")
    assert made(own)[1] == {split: sorted(names) for split, names in PARTS.items()}


def test_the_points_of_a_pose_are_no_polygon(own):
    SPLIT["yolo_described"](own)
    for file in own.glob("labels/*/*.txt"):
        (x0, y0, x1, y1), box = BOXES[1], file.read_text().splitlines()[0]
        other = f"1 {(x0 + x1) / 2 / WIDTH} {(y0 + y1) / 2 / HEIGHT} {(x1 - x0) / WIDTH} {(y1 - y0) / HEIGHT}"
        file.write_text(f"{box} 0.1 0.1 2 0.9 0.9 0\n{other} 0 0 0 0.2 0.1 1\n")
    file = own / "data.yaml"
    file.write_text(file.read_text() + "kpt_shape: [2, 3]\n")
    made(own)
    shutil.rmtree("params")
    file.write_text(file.read_text().replace("[2, 3]", "[2, 2]"))
    assert "line 1: a class, 4 numbers and 4 of points are needed; found 11" in "".join(refused(own).faults)


def test_a_folder_of_images_beside_the_splits_is_told(own):
    SPLIT["yolo_described"](own)
    images(own / "images/extra", NAMES[:1])
    texts(own / "labels/extra", NAMES[:1])
    told = "left out, though it could be a split: images/extra; --train, --val and --test can say otherwise"
    assert told in made(own)[0]


def test_labels_without_image_and_images_without_labels(own):
    yolo(own, "0 0.5 0.5 0.1 0.1")
    (own / "labels/cell6.txt").unlink()
    (own / "images/cell8.jpg").unlink()
    assert "own/labels/cell8.txt: labels of no image below own/images" in str(refused(own))
    said = new("mine", own, broken_images="skip").said
    assert "one image left out:" in said
    assert "one image without an object, taken as background" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("names: {0: a, 2: b}", "data.yaml: names: the numbers 0 to 1 are needed, found [0, 2]"),
        ("names: [a, a]", "data.yaml: names: 'a' is there twice"),
        ("names: [no, yes]", "names: that of class 0 is read as False, as YAML has it; put it in quotes"),
        ("names: 3", "data.yaml: names: a list, or a mapping from numbers to names, is needed; found 3"),
        ("names: [RBC, WBC]\nnc: 3", "data.yaml: nc: 3, but there are 2 names"),
        ("names: [RBC, WBC]\ntrain: photos", "data.yaml: train: no folder 'photos' of images below own"),
        (
            "names: [RBC, WBC]\ntrain: [3]",
            "train: folders of images or lists of them are needed, found [3]",
        ),
        (
            "train: images",
            "the nearest: images in images/ with YOLO's text files; create data.yaml with `names: [...]`",
        ),
    ],
)
def test_a_faulty_data_yaml(own, text, said):
    yolo(own, "0 0.5 0.5 0.1 0.1")
    (own / "data.yaml").write_text(text)
    assert said in str(refused(own))


def test_lists_of_names_that_differ(own):
    WHOLE["yolo_whole"](own)
    (own / "classes.txt").write_text("WBC\nRBC\n")
    said = "own: classes.txt and labels/classes.txt differ; the numbers of classes must mean the same"
    assert str(refused(own)) == said
    (own / "classes.txt").write_bytes(b"\xef\xbb\xbfRBC\r\nWBC\r\n\r\n")
    made(own)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"RBC\nRBC\n", "own/labels/classes.txt: 'RBC' is there twice"),
        (b"\n\n", "own/labels/classes.txt: no name in it"),
        (b"Pl\xe4ttchen\nRBC\n", "own/labels/classes.txt: cannot be read: 'utf-8' codec can't decode byte 0xe4"),
    ],
)
def test_a_faulty_list_of_names(own, content, said):
    WHOLE["yolo_whole"](own)
    (own / "labels/classes.txt").write_bytes(content)
    assert said in str(refused(own))


def test_an_empty_line_of_a_list_of_names_counts(own):
    WHOLE["yolo_whole"](own)
    (own / "labels/classes.txt").write_text("RBC\n\nWBC\n")
    for file in (own / "labels").glob("cell*"):
        file.write_text("\ufeff" + file.read_text().replace("\n1 ", "\n2 "))
    assert "left out, for want of any object: one class, class 1" in made(own)[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("cell4.jpg,160,120,RBC,1,2,far,9", "line 30: right: a number is needed, found 'far'"),
        ("cell4.jpg,160,120,,1,2,8,9", "line 30: class: it is empty"),
        ("cell4.jpg,160,90,RBC,1,2,8,9", "line 30: width and height: not those of"),
        ("cell4.jpg,160", "line 30: 8 columns are needed, found 2"),
        ("../../cell4.jpg,160,120,RBC,1,2,8,9", "line 30: file: '../../cell4.jpg' lies outside own"),
        ('cell4.jpg,160,120,"RBC', "annotations.csv"),
    ],
)
def test_a_faulty_table(own, line, said):
    WHOLE["csv_header"](own)
    file = own / "annotations.csv"
    file.write_text(file.read_text() + line + "\n")
    assert said in str(refused(own))


def test_a_table_of_shares(own):
    images(own / "images", NAMES)
    rows = [f"images/{name}.jpg,0.1,0.2,0.5,0.6,RBC" for name in NAMES]
    (own / "a.csv").write_text("\n".join(rows))
    assert "own/a.csv: all corners are between 0 and 1; pixels are needed" in str(refused(own))


def test_one_image_in_two_splits_under_two_names(own):
    SPLIT["coco_export"](own)
    shutil.copyfile(own / "train/cell0.jpg", own / "test/cell11.jpg")
    said = "test/cell11.jpg of test is the same image as train/cell0.jpg of train; one of the two has to go"
    assert str(refused(own)) == said


def test_a_split_without_an_object(own):
    SPLIT["yolo_described"](own)
    shutil.rmtree(own / "labels/val")
    said = "own: no object to learn or to measure in the 3 images of val: none has a text file, such as own/labels/val/"
    assert str(refused(own)).startswith(said)
    texts(own / "labels/val", PARTS["val"])
    for file in (own / "labels/test").iterdir():
        file.write_text("")
    assert "in the 3 images of test: its annotations have none, such as own/labels/test/" in str(refused(own))


def test_objects_that_are_all_crowds(own):
    WHOLE["coco_whole"](own)
    content = json.loads((own / "labels.json").read_text())
    for each in content["annotations"]:
        each["iscrowd"] = 1
    (own / "labels.json").write_text(json.dumps(content))
    assert "the 10 images of train: all of its objects are crowd regions (iscrowd: 1)" in str(refused(own))


def test_boxes_of_another_order_of_corners(own):
    images(own / "images", NAMES)
    rows = [f"images/{name}.jpg,{x0},{x1},{y0},{y1},RBC" for name in NAMES for x0, y0, x1, y1 in BOXES]
    (own / "a.csv").write_text("\n".join(rows))
    said = (
        "own: 14 of 28 boxes are none, most of them for swapped corners, such as [60.0, 140.0, 30.0, 110.0] in images/"
    )
    assert str(refused(own)).startswith(said)
    assert "they may be in another order than left, top, right and bottom" in str(refused(own))


def test_boxes_that_are_none_behind_many_that_are_clipped(own):
    images(own / "images", NAMES)
    corners = ["1,1,900,9"] * 100 + ["9,9,1,1"] * 100
    (own / "a.csv").write_text("\n".join(f"images/{name}.jpg,{each},RBC" for name in NAMES for each in corners))
    assert str(refused(own)) == "own: 1400 of 2800 boxes are none"


def test_one_image_in_two_lists(own):
    voc_lists(own)
    file = own / "ImageSets/Main/test.txt"
    file.write_text(file.read_text() + "\ncell0")
    assert "JPEGImages/cell0.jpg of test is also JPEGImages/cell0.jpg of" in str(refused(own))


def test_two_images_of_one_stem(own):
    voc_annots(own)
    shutil.copyfile(own / "images/cell0.jpg", own / "images/cell0.png")
    assert str(refused(own)) == "own/images: cell0.jpg and cell0.png: two images of one stem"
    WHOLE["csv_plain"](Path("table"))
    shutil.copyfile("table/images/cell0.jpg", "table/images/cell0.png")
    file = Path("table/annotations.csv")
    file.write_text(file.read_text() + "images/cell0.png,1,2,30,40,RBC\n")
    assert "images/cell0.png of" in str(refused(Path("table")))


def test_a_list_cannot_train_and_test(own):
    voc_lists(own)
    (own / "ImageSets/Main/all.txt").write_text("\n".join(NAMES))
    said = "--train and --test both say 'all'; an image cannot be in two splits"
    assert str(refused(own, {"train": "all", "test": "all"})) == said


def one(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda own: own.mkdir(), "own: no image and no annotation in it; put images into images/ and create"),
        (lambda own: images(own / "pics", NAMES), "the nearest: 14 images in pics/; create annotations/NAME.xml (VOC)"),
        (
            lambda own: one(own / "a.json", '{"images": []}'),
            "a.json, not a COCO file of objects: 'annotations' is missi",
        ),
        (
            lambda own: one(own / "a.csv", "a,b\n1,2\n"),
            "own/a.csv: no table of objects: no column filename or file_name",
        ),
        (lambda own: one(own / "a.csv", ""), "own/a.csv: an empty table"),
        (
            lambda own: one(own / "a.csv", "file_name,xmin,ymin,xmax,ymax,class\n"),
            "own/a.csv: a header and no line below it",
        ),
        (lambda own: one(own / "a.xml", "<html/>"), "a.xml, but VOC's files have <annotation> with <object>"),
        (
            lambda own: xmls(own / "annots", NAMES),
            "14 VOC files, and no image of their names below own; create images/",
        ),
        (
            lambda own: coco(own / "a.json", NAMES),
            "own/a.json: its images, 'cell0.jpg' and so on, are not in any folder",
        ),
        (lambda own: own.write_text("x"), "own: a folder is needed, or a COCO file"),
        (lambda own: None, "own: no such folder or file"),
    ],
)
def test_what_cannot_be_read_names_the_nearest_thing(own, make, said):
    make(own)
    assert said in str(refused(own))


def test_a_search_that_leaves_for_the_whole_disk_is_stopped(own, monkeypatch):
    monkeypatch.setattr("detdistill.data.tree.MOST_FOLDERS", 5)
    for number in range(6):
        (own / str(number)).mkdir(parents=True)
    assert "own: more than 5 folders below it; give the data's own folder" in str(refused(own))
