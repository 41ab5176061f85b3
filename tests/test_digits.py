"""The embedded data set: the same bytes everywhere, splits that share nothing, boxes that fit."""

import hashlib
import io
from itertools import pairwise

import numpy as np
import pytest
import yaml
from PIL import Image

from detdistill import data
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.params import parse
from detdistill.data import digits, png
from detdistill.data.drawing import render, tight_box
from detdistill.dataset.prepared import manifest_of

SMALL_DIGEST = "926bb23a5b90743f3325043a5cbe48e2bc106607451d53aa658a0e4e416449ce"
SMALL_FILES_DIGEST = "c689d800bdbbb4e7fbeb08388d17f8c6732755699ccfcaeab47e57808b227bbd"
FULL_DIGEST = "c076805214685b5bad39a82f7af7f60ba6763b87c7acaa5b0e43b20cf2f87b47"
SMALL = {"kind": "digits", "images": {"train": 12, "val": 4, "test": 4}}


def digest(params: digits.Params) -> str:
    splits = {split: digits.annotations(params, split) for split in digits.SPLITS}
    return manifest_of("any", params.kind, digits.class_names(params), splits)["digest"]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A small study in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    path = paths.params("small", "data")
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(SMALL))
    return "small"


def test_the_small_set_has_the_same_pixels_and_boxes_on_every_machine():
    assert digest(digits.Params(**SMALL)) == SMALL_DIGEST


def test_the_full_set_has_the_same_pixels_and_boxes_on_every_machine():
    assert digest(digits.Params(kind="digits")) == FULL_DIGEST


def test_another_seed_is_another_set():
    assert digest(digits.Params(**SMALL, seed=1)) != SMALL_DIGEST


def test_a_longer_set_begins_with_the_shorter_one():
    short = digits.Params(kind="digits", images=digits.Images(train=2, val=1, test=1))
    longer = digits.Params(kind="digits", images=digits.Images(train=4, val=1, test=1))
    for one, other in zip(digits.pictures(short, "train"), digits.pictures(longer, "train"), strict=False):
        assert (one.pixels == other.pixels).all()
        assert one.boxes == other.boxes


def test_the_files_have_the_same_bytes_on_every_machine(study):
    data.make(study)
    files = sorted(paths.data(study, "images").iterdir())
    assert len(files) == 20
    together = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert together == SMALL_FILES_DIGEST


def test_splits_share_no_digit_and_every_class_is_in_each():
    partition = digits.digit_partition(digits.Params(kind="digits"))
    indices = [index for split in partition.values() for of_class in split for index in of_class]
    assert len(indices) == len(set(indices)) == 1797
    assert all(len(of_class) >= 25 for split in partition.values() for of_class in split)


def test_splits_share_no_pixel_of_the_photographs():
    strips = sorted(digits.STRIPS.values())
    assert all(end <= start for (_, end), (start, _) in pairwise(strips))
    assert strips[0][0] == 0
    assert strips[-1][1] == 640


def test_every_object_keeps_to_the_params():
    params = digits.Params(kind="digits", images=digits.Images(train=60, val=1, test=1))
    seen = set()
    for picture in digits.pictures(params, "train"):
        assert picture.pixels.shape == (96, 96, 3)
        assert picture.pixels.dtype == np.uint8
        assert 1 <= len(picture.boxes) == len(picture.labels) <= 6
        seen.update(picture.labels)
        for x, y, width, height in picture.boxes:
            assert x >= 0
            assert y >= 0
            assert x + width <= 96
            assert y + height <= 96
            assert max(width, height) <= 40 * 1.5
    assert seen == set(range(10))


def test_a_digit_drawn_upright_keeps_its_place_and_proportions():
    glyph = np.zeros((10, 10), np.int64)
    glyph[1:9, 4:6] = 16  # a bar of full height and a quarter of the width
    alpha = render(glyph, 32, 0, 130)
    _, _, width, height = tight_box(alpha >= 128)
    assert height == 32
    assert width in (8, 9, 10)
    assert alpha.max() == 256


def test_a_rotated_bar_is_wider_and_either_way_alike():
    glyph = np.zeros((10, 10), np.int64)
    glyph[1:9, 4:6] = 16
    left, right = render(glyph, 32, -20, 130), render(glyph, 32, 20, 130)
    assert tight_box(left >= 128)[2] > 14
    assert np.abs(left[:, ::-1] - right).max() <= 8  # rounding only


def test_png_is_read_back_pixel_for_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (160, 150, 3)).astype(np.uint8)  # more than one stored block
    assert (np.array(Image.open(io.BytesIO(png.encode(pixels)))) == pixels).all()


def test_the_step_writes_everything_and_twice_the_same(study):
    data.make(study)
    names = {file.name for file in paths.data(study, "x").parent.iterdir()}
    assert names == {"images", "train.json", "val.json", "test.json", "manifest.json", "timing.json"}
    first = paths.data(study, "manifest.json").read_bytes()
    data.make(study)
    assert paths.data(study, "manifest.json").read_bytes() == first


def test_an_interrupted_step_leaves_no_manifest_and_no_part(study, monkeypatch):
    data.make(study)
    monkeypatch.setattr(png, "encode", lambda pixels: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        data.make(study)
    names = {file.name for file in paths.data(study, "x").parent.iterdir()}
    assert "manifest.json" not in names
    assert ".images.partial" not in names


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "digit"}, "kind: no kind of data 'digit'; did you mean 'digits'"),
        ({"kind": "manifest"}, "no kind of data 'manifest'"),
        ({}, "no kind of data None"),
        ({"kind": "digits", "image_sise": 96}, "unknown key 'image_sise'; did you mean 'image_size'"),
        ({"kind": "digits", "seed": "0"}, "seed: input should be a valid integer"),
        ({"kind": "digits", "images": {"train": 0}}, "images.train"),
        ({"kind": "digits", "digit_size": {"low": 40, "high": 10}}, "low 40 is above high 10"),
        ({"kind": "digits", "digit_size": {"low": 10, "high": 60}}, "digit_size.high 60 is above half"),
    ],
)
def test_wrong_params_are_one_sentence(study, values, said):
    paths.params(study, "data").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=said.replace(".", r"\.")) as caught:
        data.make(study)
    assert str(caught.value).startswith("params/small/data.yaml")


def test_an_unknown_study_is_near_a_known_one(study):
    with pytest.raises(UserError, match="did you mean 'small'"):
        data.make("smal")


def test_the_defaults_are_the_digits_study():
    params = parse(digits.Params, {"kind": "digits"}, "data.yaml")
    assert (params.images.train, params.images.val, params.images.test) == (4000, 500, 500)
    assert (params.image_size, params.digit_size.low, params.digit_size.high) == (96, 10, 40)
