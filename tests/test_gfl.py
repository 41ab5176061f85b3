"""GFL: ATSS, its two focal losses and its boxes against values worked out by hand; both engines have the same."""

from __future__ import annotations

import math
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torchvision.ops import box_iou

from detdistill.core.errors import UserError
from detdistill.detectors.base import Detector
from detdistill.detectors.dense import adaptive_threshold, atss, near_anchors, paired_iou, side_deltas
from detdistill.detectors.gfl import distribution_focal_loss, expected, quality_focal_loss
from detdistill.distill.cnn.head.crosskd import decode
from detdistill.engines.torchvision import gfl

LN2 = math.log(2)
ANCHORS = torch.tensor([[0.0, 0, 8, 8], [2, 0, 10, 8], [4, 0, 12, 8], [6, 0, 14, 8]])
OBJECT = ANCHORS[:1]  # IoU 1, 3/5, 1/3, 1/7


@pytest.fixture
def detector() -> Detector:
    return tiny.detector("gfl")


def peaked(*distances: float) -> Tensor:
    """Logits (4, 17) whose mass lies in one bin, or in equal parts in the two beside a half."""
    logits = torch.full((len(distances), 17), -1e4)
    for edge, distance in enumerate(distances):
        logits[edge, [math.floor(distance), math.ceil(distance)]] = 0.0
    return logits


class TestATSS:
    def test_the_nearest_of_each_level_are_considered(self) -> None:
        boxes = torch.cat([OBJECT, ANCHORS[3:]])
        near = near_anchors([ANCHORS[1:], ANCHORS[:1]], boxes, 2)
        assert near.T.tolist() == [[True, True, False, True], [False, True, True, True]]

    def test_the_threshold_is_the_mean_and_the_unbiased_deviation_of_their_overlaps(self) -> None:
        overlaps, near = torch.tensor([[1.0], [0.6], [0.2], [0.9]]), torch.tensor([[True], [True], [True], [False]])
        assert adaptive_threshold(overlaps, near).item() == pytest.approx(0.6 + 0.4)
        assert adaptive_threshold(overlaps[:1], near[:1]).item() == 1.0

    def test_what_reaches_the_threshold_is_positive(self) -> None:
        # Of the first three: mean 0.644, deviation 0.336. Of the first and two far away: 1/3 and 0.577.
        assert atss([ANCHORS], OBJECT, 3).tolist() == [0, -1, -1, -1]
        assert atss([ANCHORS[1:]], OBJECT, 2).tolist() == [-1, -1, -1]  # mean 0.467, deviation 0.189
        far = ANCHORS[:2] + 90
        assert atss([ANCHORS[:1], far], OBJECT, 2).tolist() == [0, -1, -1]

    def test_no_other_is_positive_whatever_its_overlap(self) -> None:
        corners = torch.tensor([[x, 0.0] for x in range(0, 32, 8)])  # four in one object, all of IoU 1/16
        anchors = torch.cat([corners, corners + 8], dim=1)
        assert atss([anchors], torch.tensor([[0.0, 0, 32, 32]]), 2).tolist() == [-1, 0, 0, -1]

    def test_its_centre_must_lie_in_the_object(self) -> None:
        anchors = torch.tensor([[-4.0, -4, 4, 4], [-2, -2, 6, 6]])  # IoU 1/4 each, centres (0, 0) and (2, 2)
        assert atss([anchors], torch.tensor([[0.0, 0, 4, 4]]), 9).tolist() == [-1, 0]

    def test_an_anchor_of_two_objects_belongs_to_the_one_it_overlaps_most(self) -> None:
        boxes = torch.tensor([[0.0, 0, 8, 6], [0, 0, 8, 8]])
        assert atss([ANCHORS[:1]], boxes, 9).tolist() == [1]
        assert atss([ANCHORS[:1]], boxes.flip(0), 9).tolist() == [0]

    def test_without_objects_all_is_background(self) -> None:
        assert atss([ANCHORS, ANCHORS], OBJECT[:0], 9).tolist() == [-1] * 8

    def test_the_taps_hold_the_assignment_that_the_losses_used(
        self, detector: Detector, batch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        images, targets = batch
        seen = []
        monkeypatch.setattr(gfl, "atss", lambda *args: seen.append(atss(*args)) or seen[-1])
        _, taps = detector.train().training_step(images, targets, detector.taps)
        for labels, matched, target in zip(taps.anchor_labels, seen, targets, strict=False):
            positive = matched >= 0
            assert torch.equal(positive, labels >= 0)
            assert torch.equal(labels[positive], target["labels"][matched[positive]])
        positive = taps.anchor_labels[0] >= 0
        assert positive.any()
        boxes = decode(taps.anchor_targets[0][positive], torch.cat(list(taps.anchors.values()))[positive])
        torch.testing.assert_close(boxes, targets[0]["boxes"].expand_as(boxes))


class TestLosses:
    def test_quality_is_cross_entropy_by_the_square_of_the_distance(self) -> None:
        # Scores of 1/2 against an IoU of 3/4 and against background.
        loss = quality_focal_loss(torch.zeros(1, 2), torch.tensor([[0.75, 0.0]]))
        assert loss.item() == pytest.approx((1 / 16 + 1 / 4) * LN2)

    def test_a_distance_is_shared_by_the_bins_beside_it(self) -> None:
        edges = torch.tensor([0.5, 0.25, 0.125, 0.125]).log().expand(3, 4)
        loss = distribution_focal_loss(edges, torch.tensor([0.25, 1.0, 1.5]))
        assert loss.tolist() == pytest.approx([0.75 * LN2 + 0.25 * 2 * LN2, 2 * LN2, (2 + 3) / 2 * LN2])

    def test_their_gradients_are_those_of_their_values(self) -> None:
        generator = torch.Generator().manual_seed(0)
        logits, edges = torch.randn(2, 5, 4, dtype=torch.float64, generator=generator).requires_grad_().unbind()
        quality, distances = torch.rand(2, 5, 4, dtype=torch.float64, generator=generator).unbind()
        assert gradcheck(lambda own: quality_focal_loss(own, quality), [logits])
        assert gradcheck(lambda own: distribution_focal_loss(own, 2.9 * distances[:, 0]), [edges])

    def test_all_three_and_what_they_are_divided_by(self, detector: Detector) -> None:
        # A location a level, both at (64, 64). Uniform edges mean 8 bins: squares of 64 and 128 pixels about it.
        anchors = torch.tensor([[48.0, 48, 80, 80]]).expand(2, 4)
        outputs = {
            "cls_logits": torch.tensor([0.0, 0.0, math.log(3)]).expand(3, 2, 3),
            "bbox_regression": torch.zeros(3, 2, 4, 17),
            "levels": torch.tensor([[0, 1]]),
        }
        target = {"boxes": torch.tensor([[0.0, 0, 128, 96]]), "labels": torch.tensor([1])}
        empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
        losses = detector.model.compute_loss([target, empty, target], outputs, [anchors] * 3)
        # Both locations are positive, of weight 3/4; IoU and GIoU are 1/3 and 3/4. An empty image counts as one.
        background = (1 / 4 + 9 / 16 * 2) * LN2
        positives = ((1 / 3 - 1 / 2) ** 2 + (3 / 4 - 1 / 2) ** 2) * LN2 + 2 * background
        assert losses["quality"].item() == pytest.approx(
            (2 * positives + 2 * (background + LN2 / 4)) / (2 + 2 + 1), rel=1e-5
        )
        assert losses["boxes"].item() == pytest.approx(2 * (2 / 3 + 1 / 4) / 2, rel=1e-5)
        assert losses["distribution"].item() == pytest.approx(math.log(17) / 4, rel=1e-5)
        # One object alone weighs 3/4 + 3/4; at best scores of 3/8 the weights are together below 1, which divides then.
        outputs = {key: value[:1] for key, value in outputs.items()}
        outputs["cls_logits"] = torch.tensor([-math.log(7), -math.log(7), math.log(3 / 5)]).expand(1, 2, 3)
        losses = detector.model.compute_loss([target], outputs, [anchors])
        assert losses["boxes"].item() == pytest.approx(2 * (2 / 3 + 1 / 4) * 3 / 8, rel=1e-5)
        assert losses["distribution"].item() == pytest.approx(2 * math.log(17) * 3 / 8 / 4, rel=1e-5)

    def test_the_box_that_the_edges_mean_is_the_one_compared(self, detector: Detector) -> None:
        outputs = {
            "cls_logits": torch.zeros(1, 1, 3),
            "levels": torch.tensor([[1]]),
            "bbox_regression": peaked(2.5, 1.5, 1.5, 3)[None, None],
        }
        target = {"boxes": torch.tensor([[44.0, 52, 76, 88]]), "labels": torch.tensor([0])}
        losses = detector.model.compute_loss([target], outputs, [torch.tensor([[48.0, 48, 80, 80]])])
        assert losses["boxes"].item() == pytest.approx(0, abs=1e-6)

    def test_edges_are_taught_the_distance_in_strides(self, detector: Detector) -> None:
        """The object's own distances, and none beyond the last bin, are at the least of the cross-entropy."""
        anchors = torch.tensor([[48.0, 48, 80, 80]])
        target = {"boxes": torch.tensor([[44.0, 52, 76, 1000]]), "labels": torch.tensor([0])}
        outputs = {"cls_logits": torch.zeros(1, 1, 3), "levels": torch.tensor([[1]])}
        losses = {}
        for bottom in (15.5, 14.5):
            edges = peaked(2.5, 1.5, 1.5, bottom)[None, None] / 1e3  # -10, so that other bins cost no more than that
            losses[bottom] = detector.model.compute_loss([target], {**outputs, "bbox_regression": edges}, [anchors])
        assert losses[15.5]["distribution"].item() == pytest.approx(0.25 * 0.5 * LN2, rel=1e-2)
        assert losses[14.5]["distribution"].item() == pytest.approx(0.25 * 0.5 * (LN2 + 0.9 * 10 / 4), rel=1e-2)


class TestBoxes:
    def test_a_box_lies_its_mean_distances_from_the_location(self, detector: Detector, batch: Any) -> None:
        assert expected(peaked(0, 1, 2.5, 16)).tolist() == [0, 1, 2.5, 16]
        anchors = detector.eval().observe(batch[0][:1], frozenset({"anchors"})).anchors["8"]
        row = 1 * (tiny.WIDE[1] // 8) + 2  # the location (16, 8)
        deltas = detector.model.deltas(peaked(1, 2, 3.5, 0)[None, None], level=1)
        assert decode(deltas[0, 0], anchors[row]).tolist() == pytest.approx([8, -8, 44, 8], abs=1e-4)

    def test_an_empty_box_is_finite(self) -> None:
        assert side_deltas(torch.zeros(1, 4)).isfinite().all()

    def test_overlaps_are_of_pairs(self) -> None:
        assert paired_iou(ANCHORS, OBJECT.expand(4, 4)).tolist() == pytest.approx([1, 3 / 5, 1 / 3, 1 / 7])
        assert paired_iou(OBJECT, OBJECT + 50).tolist() == [0]

    def test_each_level_has_a_scale_of_its_own(self, detector: Detector, batch: Any) -> None:
        wanted = frozenset({"head_edges"})
        with torch.no_grad():
            once = detector.eval().observe(batch[0], wanted).head_edges
            detector.model.head.regression_head.scales[1] = 2.0
            twice = detector.observe(batch[0], wanted).head_edges
        assert torch.equal(once["4"], twice["4"])
        assert torch.equal(2 * once["8"], twice["8"])


class TestDetector:
    @pytest.mark.parametrize("engine", ["torchvision", "detectron2"])
    def test_it_tells_how_many_anchors_its_assignment_considers(self, engine: str) -> None:
        detector = tiny.detector("gfl", engine=engine, nearest=3)
        assert detector.nearest == detector.model.nearest == 3

    def test_it_learns(self, detector: Detector) -> None:
        images, targets = tiny.batch(3)
        optimizer = torch.optim.Adam(detector.train().parameters(), lr=3e-3)
        totals = []
        for _ in range(60):
            losses, _ = detector.training_step(images, targets)
            total = torch.stack(list(losses.values())).sum()
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            totals.append(total.item())
        assert losses.keys() == {"quality", "boxes", "distribution"}
        # Boxes weigh by their scores, so that the loss rises with these before it falls.
        assert totals[-1] < min(totals[0], 0.5 * max(totals))
        with torch.no_grad():
            found = detector.eval().predict(images)
        for each, target in zip(found, targets, strict=True):
            sure = each["scores"] > 0.5
            assert sorted(each["labels"][sure].tolist()) == target["labels"].tolist()
            if sure.any():
                assert box_iou(target["boxes"], each["boxes"][sure]).amax(1).min() > 0.8

    @pytest.mark.parametrize("found", [[], [[1.0, 1.0, 7.0, 7.0]]], ids=["empty", "object"])
    def test_a_level_of_one_pixel(self, detector: Detector, found: list[list[float]]) -> None:
        target = {"boxes": torch.tensor(found).reshape(-1, 4), "labels": torch.zeros(len(found), dtype=torch.int64)}
        losses, taps = detector.train().training_step([torch.rand(3, 8, 8)] * 2, [target] * 2, detector.taps)
        assert taps.head_edges["8"].shape == (2, 1, 4, 17)
        torch.stack(list(losses.values())).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.model.head.parameters())

    def test_anchors_a_location(self) -> None:
        with pytest.raises(UserError, match=r"student.yaml: detector.*anchors"):
            tiny.detector("gfl", anchors=[[12.0, 16.0], [22.0]])
        with pytest.raises(UserError, match=r"student.yaml: detector.*aspect_ratios"):
            tiny.detector("gfl", aspect_ratios=[0.5, 1.0])

    def test_the_number_of_bins(self, batch: Any) -> None:
        detector = tiny.detector("gfl", bins=5)
        assert detector.eval().observe(batch[0], frozenset({"head_edges"})).head_edges["4"].shape[2:] == (4, 6)
        with pytest.raises(UserError, match=r"student.yaml: detector.*bins"):
            tiny.detector("gfl", bins=0)
