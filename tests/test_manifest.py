"""Prepared data are read as they were written, and whatever was lost or altered since is named in one sentence."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import sha256, write_json
from detdistill.data import png
from detdistill.dataset import manifest
from detdistill.dataset.prepared import FAULTS_NAMED, Annotations, Object, Writer, digest_of

STUDY = "pets"
CLASSES = ["cat", "dog"]


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (20, 30, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Two splits of two images; the second image of each has no object."""
    monkeypatch.chdir(tmp_path)
    with Writer(STUDY, "digits", CLASSES) as writer:
        for split in ("train", "val"):
            annotations = Annotations(CLASSES)
            for number, boxes, labels in ((0, [(1, 2, 10, 5), (0, 0, 30, 20)], [1, 0]), (1, [], [])):
                name = f"{split}-{number}.png"
                annotations.add(name, picture(number), boxes, labels)
                writer.image(name, png.encode(picture(number)))
            writer.split(split, annotations)
    return Path("data", STUDY)


def edit(folder: Path, change) -> None:
    """Change the training annotations and make every digest agree again, as another reader might have written them."""
    content = json.loads((folder / "train.json").read_text())
    change(content)
    write_json(folder / "train.json", content)
    described = json.loads((folder / "manifest.json").read_text())
    described["splits"]["train"]["sha256"] = sha256(folder / "train.json")
    described["digest"] = digest_of({name: entry["sha256"] for name, entry in described["splits"].items()})
    write_json(folder / "manifest.json", described)


def test_what_was_written_is_read_back(folder):
    loaded = manifest.load(STUDY)
    assert loaded.classes == CLASSES
    assert loaded.splits["train"].boxes_per_class == [1, 1]
    split = loaded.split("train")
    assert len(split) == 2
    image, targets = split[0]
    assert image.dtype == torch.uint8
    assert (image.permute(1, 2, 0).numpy() == picture(0)).all()
    assert targets["boxes"].dtype == torch.float32
    assert targets["boxes"].tolist() == [[1, 2, 11, 7], [0, 0, 30, 20]]
    assert targets["labels"].tolist() == [1, 0]
    assert targets["image_id"].item() == 1
    assert not targets["iscrowd"].any()
    assert not targets["difficult"].any()


def test_an_image_without_objects_has_empty_targets(folder):
    targets = manifest.load(STUDY).split("train").targets(1)
    assert targets["boxes"].shape == (0, 4)
    assert targets["labels"].shape == (0,)
    assert targets["labels"].dtype == torch.int64


def test_a_cached_split_reads_each_file_once_and_shares_it_with_its_subsets(folder):
    split = manifest.load(STUDY).split("train", cache=True)
    first = split.image(0)
    (folder / "images" / "train-0.png").unlink()
    assert split.image(0) is first
    assert split.subset([1, 0]).image(1) is first


def test_images_that_stay_where_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    original = tmp_path / "raw" / "pets" / "one" / "1.png"
    original.parent.mkdir(parents=True)
    original.write_bytes(png.encode(picture(0)))
    annotations = Annotations(CLASSES)
    cats = [Object((1, 2, 10, 5), 0, area=31.5, iscrowd=True), Object((0, 0, 30, 20), 1, difficult=True)]
    annotations.add_image("one/1.png", 30, 20, cats, file_sha256=sha256(original))
    with Writer(STUDY, "voc", CLASSES, folder="raw/pets") as writer:
        writer.split("train", annotations)
    split = manifest.load(STUDY).split("train")
    assert (split.image(0).permute(1, 2, 0).numpy() == picture(0)).all()
    assert split.records[0].areas.tolist() == [31.5, 600.0]
    assert split.targets(0)["iscrowd"].tolist() == [True, False]
    assert split.targets(0)["difficult"].tolist() == [False, True]
    assert list((tmp_path / "data" / STUDY / "images").iterdir()) == []
    Image.fromarray(picture(0)).save(original, compress_level=9)
    with pytest.raises(UserError, match=r"raw/pets/one/1\.png: altered: its bytes do not match the file_sha256"):
        manifest.load(STUDY).split("train").image(0)


def test_faults_are_counted_and_the_first_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    annotations = Annotations(CLASSES)
    annotations.add("1.png", picture(0), [(0, 0, 30, 20)], [0])
    for number in range(FAULTS_NAMED + 1):
        annotations.add_fault("1.png", [number, 0, 0, 0], "no area", "dropped")
    annotations.add_fault("1.png", [0, 0, 40, 20], "beyond the image", "clipped")
    with Writer(STUDY, "voc", CLASSES) as writer:
        writer.split("train", annotations)
    entry = manifest.load(STUDY).splits["train"]
    assert (entry.dropped, entry.clipped, len(entry.faults)) == (FAULTS_NAMED + 1, 1, FAULTS_NAMED)
    assert entry.faults[0].box == [0, 0, 0, 0]


def test_images_left_out_are_all_named_and_a_manifest_without_them_has_no_such_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole, less = Annotations(["a"]), Annotations(["a"])
    for number in range(FAULTS_NAMED + 1):
        less.add_skipped(f"{number}.jpg", "truncated")
    with Writer(STUDY, "voc", ["a"]) as writer:
        writer.split("train", less)
        writer.split("val", whole)
    gone = manifest.load(STUDY).splits["train"].skipped
    assert (len(gone), gone[0].image, gone[0].reason) == (FAULTS_NAMED + 1, "0.jpg", "truncated")
    assert "skipped" not in whole.summary()


def test_a_subset_keeps_its_own_order(folder):
    subset = manifest.load(STUDY).split("train").subset([1, 0])
    assert [record.image_id for record in subset.records] == [2, 1]
    assert subset.classes == CLASSES


def test_no_manifest_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"data/pets/manifest\.json: no such file; run `detdistill data --study pets`"):
        manifest.load(STUDY)


def test_an_unknown_split_is_near_a_known_one(folder):
    with pytest.raises(UserError, match=r"manifest\.json: splits: no split 'trian'; did you mean 'train'"):
        manifest.load(STUDY).split("trian")


def test_an_altered_manifest(folder):
    described = json.loads((folder / "manifest.json").read_text())
    described["splits"]["val"]["sha256"] = "0" * 64
    write_json(folder / "manifest.json", described)
    with pytest.raises(UserError, match=r"manifest\.json: digest"):
        manifest.load(STUDY)


def test_an_unknown_key_of_a_split_is_told(folder):
    described = json.loads((folder / "manifest.json").read_text())
    described["splits"]["val"]["faulds"] = 0
    write_json(folder / "manifest.json", described)
    with pytest.raises(UserError, match=r"manifest\.json: unknown key 'splits\.val\.faulds'; did you mean 'faults'"):
        manifest.load(STUDY)


def test_a_manifest_of_another_study(folder):
    described = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", described | {"study": "cars"})
    with pytest.raises(UserError, match=r"manifest\.json: study: must be 'pets', found 'cars'"):
        manifest.load(STUDY)


def test_a_missing_annotation_file(folder):
    paths.data(STUDY, "val.json").unlink()
    with pytest.raises(UserError, match=r"val\.json: no such file"):
        manifest.load(STUDY).split("val")
    assert len(manifest.load(STUDY).split("train")) == 2


def test_an_altered_annotation_file(folder):
    text = (folder / "train.json").read_text()
    (folder / "train.json").write_text(text.replace("10.0", "11.0"))
    with pytest.raises(UserError, match=r"train\.json: altered"):
        manifest.load(STUDY).split("train")


@pytest.mark.parametrize("cache", [False, True])
def test_a_missing_image(folder, cache):
    (folder / "images" / "train-0.png").unlink()
    with pytest.raises(UserError, match=r"images/train-0\.png: no such image"):
        manifest.load(STUDY).split("train", cache).image(0)


@pytest.mark.parametrize("kept", [0, 20, 200, 1000])
def test_a_truncated_image(folder, kept):
    file = folder / "images" / "train-0.png"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"images/train-0\.png: a broken or truncated image"):
        manifest.load(STUDY).split("train").image(0)


def test_a_truncated_jpeg(folder):
    file = folder / "images" / "train-0.png"
    Image.fromarray(np.tile(picture(0), (8, 8, 1))).save(file, format="jpeg")
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"images/train-0\.png: a broken or truncated image"):
        manifest.load(STUDY).split("train").image(0)


def test_what_is_no_image(folder):
    (folder / "images" / "train-0.png").write_text("not an image")
    with pytest.raises(UserError, match=r"images/train-0\.png: a broken or truncated image"):
        manifest.load(STUDY).split("train").image(0)


def test_an_altered_image(folder):
    pixels = picture(0)
    pixels[3, 4, 0] ^= 1
    (folder / "images" / "train-0.png").write_bytes(png.encode(pixels))
    split = manifest.load(STUDY).split("train")
    with pytest.raises(UserError, match=r"images/train-0\.png: altered"):
        split.image(0)


def test_the_same_pixels_in_another_encoding_are_the_same_image(folder):
    Image.fromarray(picture(0)).save(folder / "images" / "train-0.png", compress_level=9)
    assert (manifest.load(STUDY).split("train").image(0).permute(1, 2, 0).numpy() == picture(0)).all()


def test_an_image_without_a_digest_is_read_but_its_size_is_checked(folder):
    edit(folder, lambda coco: coco["images"][0].pop("sha256"))
    other = np.zeros((20, 30, 3), np.uint8)
    (folder / "images" / "train-0.png").write_bytes(png.encode(other))
    assert not manifest.load(STUDY).split("train").image(0).any()
    (folder / "images" / "train-0.png").write_bytes(png.encode(other[:10]))
    with pytest.raises(UserError, match="the image is 30 x 10 pixels, the annotations say 30 x 20"):
        manifest.load(STUDY).split("train").image(0)


def empty(coco):
    coco["images"], coco["annotations"] = [], []


def of(field, value):
    return lambda coco: coco["annotations"][0].update({field: value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (empty, "train.json: images: the split is empty"),
        (of("category_id", 3), "train.json: annotation 1: category_id: found 3, allowed 1 to 2"),
        (of("category_id", 0), "category_id: found 0"),
        (of("image_id", 9), "train.json: annotation 1: image_id: no image has id 9"),
        (of("bbox", [1, 2, 0, 5]), "train.json: annotation 1: bbox: a degenerate box, 0 by 5 pixels"),
        (of("bbox", [1, 2, 4, -5]), "a degenerate box, 4 by -5 pixels"),
        (of("bbox", [31, 2, 4, 5]), "lies outside train-0.png"),
        (of("bbox", [1, 2, 4]), "train.json: annotations.0.bbox"),
        (of("bbox", "all"), "train.json: annotations.0.bbox"),
        (of("bbox", [1, 2, 4, "5"]), "train.json: annotations.0.bbox.3"),
        (of("bbox", [1, 2, 4, 10**400]), "train.json: annotations.0.bbox.3"),
        (of("id", 2**64), "train.json: annotations: a whole number is beyond 64 bits"),
        (of("category_id", 1.0), "train.json: annotations.0.category_id"),
        (of("area", -1.0), "train.json: annotations.0.area"),
        (of("iscrowd", 2), "train.json: annotations.0.iscrowd"),
        (of("difficult", True), "train.json: annotations.0.difficult"),
        (lambda coco: coco["annotations"].insert(0, 7), "train.json: annotations.0"),
        (lambda coco: coco["annotations"][0].pop("bbox"), "'annotations.0.bbox' is missing"),
        (lambda coco: coco["images"][1].update(id=1), "images: two have the same id"),
        (lambda coco: coco["categories"].reverse(), "train.json: categories"),
        (lambda coco: coco.pop("images"), "train.json: 'images' is missing"),
    ],
)
def test_annotations_that_make_no_sense(folder, change, said):
    edit(folder, change)
    loaded = manifest.load(STUDY)
    with pytest.raises(UserError) as caught:
        loaded.split("train")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fields_of_foreign_coco_files_are_passed_over(folder):
    edit(folder, lambda coco: coco.update(info={"year": 2017}, licenses=[]))
    assert len(manifest.load(STUDY).split("train")) == 2


def test_a_writer_that_fails_leaves_the_old_images_but_no_manifest(folder):
    def fail():
        with Writer(STUDY, "digits", CLASSES) as writer:
            writer.image("train-0.png", b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not (folder / "manifest.json").exists()
    assert not (folder / ".images.partial").exists()
    assert (folder / "images" / "train-0.png").read_bytes() == png.encode(picture(0))


def test_a_disk_that_fills_up_among_the_images(folder, monkeypatch):
    def no_space(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", no_space)

    def write():
        with Writer(STUDY, "digits", CLASSES) as writer:
            writer.image("train-0.png", b"content")

    with pytest.raises(UserError, match=r"data/pets/images/train-0\.png: the disk is full"):
        write()
    assert {file.name for file in folder.iterdir()} == {"images", "train.json", "val.json"}
