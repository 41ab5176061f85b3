"""The share of a gradient inside objects, worked by hand and in real detectors."""

import pytest
import tiny
import torch

from detdistill.detectors.base import Taps
from detdistill.distill.base import inside
from detdistill.train.regions import Regions

BOX = {"boxes": torch.tensor([[0.0, 0.0, 8.0, 8.0]])}  # the first of the four cells of a 16-pixel image


def gradient_inside(losses, taps, targets):
    regions = Regions()
    regions.add(losses, taps, targets)
    return regions.shares()


def taps():
    return Taps(image_size=(16, 16), backbone={"8": torch.zeros(1, 2, 2, 2, requires_grad=True)})


def test_magnitudes_are_summed_over_channels_and_compared_by_area():
    own = taps()
    weights = torch.tensor([[[[3.0, 1.0], [0.0, 0.0]], [[-3.0, 0.0], [0.0, 1.0]]]])
    losses = {"loss": own.backbone["8"].sum(), "pkd.neck": (weights * own.backbone["8"]).sum()}
    assert gradient_inside(losses, own, [BOX]) == {"area": 0.25, "native": 0.25, "pkd": pytest.approx(6 / 8)}


def test_a_loss_that_does_not_reach_the_maps_has_no_share():
    own = taps()
    free = torch.ones(1, requires_grad=True)
    assert gradient_inside({"loss": own.backbone["8"].sum(), "mimic.roi": free.sum()}, own, [BOX])["mimic"] is None


def test_an_image_without_objects_has_nothing_inside():
    own = taps()
    empty = {"boxes": torch.zeros(0, 4)}
    assert gradient_inside({"loss": own.backbone["8"].sum()}, own, [empty]) == {"area": 0.0, "native": 0.0}


def test_the_parts_of_a_batch_count_together():
    """Of two images with the same gradient everywhere, one has an object over a quarter and one has none."""
    regions = Regions()
    for boxes in (BOX, {"boxes": torch.zeros(0, 4)}):
        own = taps()
        regions.add({"loss": own.backbone["8"].sum()}, own, [boxes])
    assert regions.shares() == {"area": 0.125, "native": 0.125}


def test_levels_of_frozen_stages_are_left_out():
    own = taps()
    own.backbone["4"] = torch.zeros(1, 2, 4, 4)
    losses = {"loss": own.backbone["8"].sum() + own.backbone["4"].sum()}
    assert gradient_inside(losses, own, [BOX]) == gradient_inside(losses, taps_of(own, "8"), [BOX])
    rest = torch.ones(1, requires_grad=True)
    assert gradient_inside({"loss": rest.sum()}, taps_of(own, "4"), [BOX]) == {"area": None, "native": None}


def taps_of(own, stride):
    return Taps(image_size=own.image_size, backbone={stride: own.backbone[stride]})


def test_a_box_smaller_than_a_cell_has_one():
    assert inside(torch.tensor([[9.0, 1.0, 10.0, 2.0]]), (16, 16), (2, 2)).tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize(("family", "method"), [("faster_rcnn", "mimic"), ("retinanet", "pkd"), ("rt_detr", "pkd")])
def test_watching_changes_nothing_and_sees_every_term(family, method):
    module = tiny.distillation(family, {method: tiny.METHODS[method]}).train()
    images, targets = tiny.batch()
    torch.manual_seed(0)
    plain = module(images, targets)
    module.passes.zero_()
    module.watching = True
    torch.manual_seed(0)
    losses = module(images, targets)
    assert {name: value.item() for name, value in losses.items()} == {n: value.item() for n, value in plain.items()}
    shares = gradient_inside(losses, module.watched, targets)
    assert set(shares) == {"area", "native", method}
    assert all(0 < share < 1 for share in shares.values())
