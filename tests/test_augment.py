"""Augmentation: boxes stay on their objects, every draw is of the given generator, and faults are told."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from detdistill.core.errors import UserError
from detdistill.core.params import Augmentation, Training, parse
from detdistill.detectors.base import Target
from detdistill.train.augment import GREY, augmented
from detdistill.train.samples import Samples

HEIGHT, WIDTH = 60, 90
BOX = [20.0, 10.0, 44.0, 40.0]
ALL = {"flip": 0.5, "scale": [0.5, 1.6], "brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1}


def sample() -> tuple[Tensor, Target]:
    """A black image with a red object exactly in its box, beside a crowd in the lower right corner."""
    image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    image[0, 10:40, 20:44] = 255
    target = {
        "boxes": torch.tensor([BOX, [80.0, 50.0, 90.0, 60.0]]),
        "labels": torch.tensor([1, 2]),
        "iscrowd": torch.tensor([False, True]),
        "image_id": torch.tensor(7),
    }
    return image, target


def vary(seed: int = 0, **recipe: Any) -> tuple[Tensor, Target]:
    return augmented(Augmentation(**recipe), *sample(), torch.Generator().manual_seed(seed))


def extent(image: Tensor) -> list[int]:
    """The box round the red pixels."""
    rows, columns = ((image[0] > 200) & (image[1] < 60)).nonzero(as_tuple=True)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def test_boxes_stay_on_their_objects() -> None:
    factors = set()
    for seed in range(40):
        image, target = vary(seed, flip=0.5, scale=[0.5, 1.6])
        assert (image.shape, image.dtype, type(image)) == ((3, HEIGHT, WIDTH), torch.uint8, Tensor)
        assert (target["boxes"].dtype, type(target["boxes"])) == (torch.float32, Tensor)
        own = target["boxes"][target["labels"] == 1]
        if len(own):
            assert extent(image) == pytest.approx(own[0].tolist(), abs=1.01)
        factors.add(round(float(own[0, 2] - own[0, 0]) / 24, 1) if len(own) else None)
    assert len(factors) > 5


def test_a_mirror_is_exact() -> None:
    image, target = vary(flip=1.0)
    assert torch.equal(image, sample()[0].flip(2))
    assert target["boxes"].tolist() == [[46.0, 10.0, 70.0, 40.0], [0.0, 50.0, 10.0, 60.0]]


def test_a_smaller_image_lies_on_grey() -> None:
    image, _ = vary(scale=[0.5, 0.5])
    is_grey = (image == torch.tensor(GREY, dtype=torch.uint8)[:, None, None]).all(0)
    assert int(is_grey.sum()) == HEIGHT * WIDTH - (HEIGHT // 2) * (WIDTH // 2)


def test_objects_that_are_cropped_away_lose_their_rows() -> None:
    counts = set()
    for seed in range(20):
        _, target = vary(seed, scale=[3.0, 3.0])
        sizes = target["boxes"][:, 2:] - target["boxes"][:, :2]
        assert (sizes >= 1).all()
        assert len(target["boxes"]) == len(target["labels"]) == len(target["iscrowd"])
        assert (target["iscrowd"] == (target["labels"] == 2)).all()
        assert target["image_id"] == 7
        counts.add(len(target["labels"]))
    assert counts == {0, 1} or counts == {0, 1, 2}


def test_an_image_without_objects_is_fine() -> None:
    image, target = sample()
    nothing = {name: tensor[:0] if tensor.ndim else tensor for name, tensor in target.items()}
    _, found = augmented(Augmentation(**ALL), image, nothing, torch.Generator().manual_seed(1))
    assert (found["boxes"].shape, found["labels"].shape) == ((0, 4), (0,))


def test_colours_leave_boxes_alone() -> None:
    image, target = vary(brightness=0.4, hue=0.2)
    assert not torch.equal(image, sample()[0])
    assert torch.equal(target["boxes"], sample()[1]["boxes"])


def test_all_draws_are_of_the_given_generator() -> None:
    before = torch.random.get_rng_state()
    first, target = vary(3, **ALL)
    torch.rand(5)
    again, same = vary(3, **ALL)
    other, _ = vary(4, **ALL)
    assert torch.equal(first, again)
    assert torch.equal(target["boxes"], same["boxes"])
    assert not torch.equal(first, other)
    torch.random.set_rng_state(before)
    vary(5, **ALL)
    assert torch.equal(torch.random.get_rng_state(), before)


class Two:
    """Two images, kept as a split with a cache keeps them."""

    def __init__(self) -> None:
        self.kept = [sample(), sample()]

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        return self.kept[index]


def test_samples_differ_by_seed_step_and_image_alone_and_leave_the_cache_as_it_is() -> None:
    split: Any = Two()
    varied, plain = (Samples(split, tiny.detector("retinanet"), 3, recipe) for recipe in (Augmentation(**ALL), None))
    first = varied[1, 0][0]
    assert not torch.equal(first, varied[2, 0][0])
    assert not torch.equal(first, varied[1, 1][0])
    assert torch.equal(first, varied[1, 0][0])
    assert torch.equal(split.kept[0][0], sample()[0])
    assert plain[1, 0][0] is split.kept[0][0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"flip": 1.5}, r"augment\.flip: .*less than or equal to 1, found 1\.5"),
        ({"scale": [1.5, 0.5]}, r"augment: scale: the least factor comes first, found \[1\.5, 0\.5\]$"),
        ({"scale": [0.0, 1.0]}, r"augment\.scale\.0: .*greater than or equal to 0\.1, found 0\.0"),
        ({"scale": [1.0]}, r"augment\.scale: .*at least 2 items"),
        ({"hue": 0.6}, r"augment\.hue: .*less than or equal to 0\.5, found 0\.6"),
        ({"brightness": -0.1}, r"augment\.brightness: .*greater than or equal to 0, found -0\.1"),
        ({"flips": 0.5}, r"unknown key 'augment\.flips'; did you mean 'flip'\?"),
    ],
)
def test_values_out_of_bounds_are_told(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=rf"^student\.yaml: {sentence}"):
        parse(Training, {"steps": 1, "batch": 1, "lr": 0.1, "augment": given}, "student.yaml")


def test_a_teacher_asked_once_is_refused() -> None:
    values = {"steps": 1, "batch": 1, "lr": 0.1, "augment": {"flip": 0.5}, "ask_teacher": "once"}
    with pytest.raises(
        UserError, match=r"^student\.yaml: ask_teacher: 'once' needs images that `augment` does not vary; 'each_step'"
    ):
        parse(Training, values, "student.yaml")
