"""What the detectors of the Detectron2 engine tell, against Detectron2 itself: heads, boxes, assignments."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from detdistill.detectors import build
from detdistill.detectors.base import Detector, Taps
from detdistill.detectors.weights import load_trunk, save_weights
from detdistill.distill.base import STUDENT_ONLY
from detdistill.distill.cnn.head.crosskd import decode

pytest.importorskip("detectron2", reason="the engine detectron2 is not installed")

from detectron2.modeling.poolers import assign_boxes_to_levels
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage

detector_of = partial(tiny.detector, engine="detectron2")
ROIS = [torch.tensor([[8.0, 8, 40, 40], [2, 30, 18, 60]]), torch.zeros(0, 4), torch.tensor([[50.0, 1, 90, 20]])]


def observed(detector: Detector, images: list[Tensor]) -> Taps:
    with torch.no_grad():
        return detector.eval().observe(images, detector.taps - STUDENT_ONLY, ROIS)


def decoded(deltas: dict[str, Tensor], anchors: dict[str, Tensor]) -> Tensor:
    """Boxes (N, sum HWA, 4) of all levels, cut at the image's edges as the engine cuts them."""
    boxes = decode(torch.cat(list(deltas.values()), dim=1), torch.cat(list(anchors.values())))
    height, width = tiny.WIDE
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


class TestFasterRCNN:
    @pytest.fixture
    def detector(self) -> Detector:
        return detector_of("faster_rcnn", rpn_pre_nms_test=2000, rpn_post_nms_test=50)

    def test_the_roi_head_at_given_boxes_is_the_native_one_to_the_bit(self, detector: Detector, batch: Any) -> None:
        taps = observed(detector, batch[0])
        model, heads = detector.model, detector.model.roi_heads
        with torch.no_grad():
            features = model.backbone(model.preprocess_image(detector.native(batch[0])).tensor)
            maps = heads.box_pooler([features[name] for name in heads.box_in_features], [Boxes(each) for each in ROIS])
            hidden = heads.box_head(maps)
            logits, deltas = heads.box_predictor(hidden)
        assert torch.equal(taps.roi_maps, maps)
        assert torch.equal(taps.roi_features, hidden)
        assert torch.equal(taps.roi_logits, logits)
        assert torch.equal(taps.roi_deltas.flatten(1), deltas)

    def test_rpn_taps_decode_to_the_engines_own_proposals(self, detector: Detector, batch: Any) -> None:
        taps = observed(detector, batch[0])
        model = detector.model
        with torch.no_grad():
            images = model.preprocess_image(detector.native(batch[0]))
            proposals, _ = model.proposal_generator(images, model.backbone(images.tensor))
        boxes = decoded(taps.rpn_deltas, taps.anchors)
        logits = torch.cat(list(taps.rpn_logits.values()), dim=1)
        for own, score, native in zip(boxes, logits, proposals, strict=True):
            assert len(native) > 0
            for box, expected in zip(native.proposal_boxes.tensor, native.objectness_logits, strict=True):
                assert (own[score == expected] - box).abs().amax(-1).min() < 1e-4

    def test_anchor_assignments_are_those_that_the_engine_samples_from(
        self, detector: Detector, batch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rpn, seen = detector.model.proposal_generator, []
        loss = rpn.losses
        monkeypatch.setattr(rpn, "losses", lambda *args: seen.append(args) or loss(*args))
        _, taps = detector.train().training_step(*batch, detector.taps)
        anchors, _, labels, _, boxes = seen[0]
        native, truth = torch.stack(labels), torch.stack(boxes)
        positive = native == 1
        assert positive.any()
        assert torch.equal(taps.anchor_labels[native >= 0], native[native >= 0] - 1)
        expected = rpn.box2box_transform.get_deltas(
            torch.cat([each.tensor for each in anchors]).expand(3, -1, -1)[positive], truth[positive]
        )
        assert torch.equal(taps.anchor_targets[positive], expected)

    def test_roi_assignments_are_those_that_the_engine_trained_on(
        self, detector: Detector, batch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        predictor, seen = detector.model.roi_heads.box_predictor, []
        loss = predictor.losses
        monkeypatch.setattr(predictor, "losses", lambda *args: seen.append(args[1]) or loss(*args))
        _, taps = detector.train().training_step(*batch, detector.taps)
        sampled = seen[0]
        assert all(torch.equal(a, b.proposal_boxes.tensor) for a, b in zip(taps.roi_boxes, sampled, strict=True))
        assert torch.equal(taps.roi_labels, torch.cat([each.gt_classes for each in sampled]))
        positive = taps.roi_labels < tiny.K
        moved = predictor.box2box_transform.apply_deltas(taps.roi_targets, torch.cat(taps.roi_boxes))
        truth = torch.cat([each.gt_boxes.tensor for each in sampled[:2]])
        assert positive.any()
        torch.testing.assert_close(moved[: len(truth)][positive[: len(truth)]], truth[positive[: len(truth)]])


class TestDense:
    @pytest.fixture(params=["retinanet", "fcos", "gfl"])
    def family(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def dense(self, family: str) -> Detector:
        return detector_of(family)

    def test_finishing_its_own_tower_features_gives_its_own_predictions(self, dense: Detector, batch: Any) -> None:
        taps = observed(dense, batch[0])
        with torch.no_grad():
            finished = dense.finish_head(taps.head_cls_features, taps.head_box_features)
        assert all(torch.equal(finished.head_logits[stride], taps.head_logits[stride]) for stride in taps.neck)
        assert all(torch.equal(finished.head_deltas[stride], taps.head_deltas[stride]) for stride in taps.neck)

    def test_tower_features_are_before_their_activation(self, dense: Detector, batch: Any) -> None:
        taps = observed(dense, batch[0])
        features = (*taps.head_cls_features.values(), *taps.head_box_features.values())
        assert all((each < 0).any() for each in features if each.shape[-1] > 1)

    def test_head_taps_decode_to_the_engines_own_boxes(self, dense: Detector, batch: Any) -> None:
        torch.nn.init.zeros_(dense.model.head.cls_score.bias)  # untrained, it scores all below what it keeps
        taps = observed(dense, batch[0][:1])
        with torch.no_grad():
            (found,) = dense.predict(batch[0][:1])
        boxes = decoded(taps.head_deltas, taps.anchors)[0]
        distances = (found["boxes"][:, None] - boxes).abs().amax(-1).amin(1)
        assert len(found["boxes"]) > 0
        assert distances.max() < 1e-3

    def test_anchor_assignments_are_those_that_the_engine_trained_on(
        self, dense: Detector, batch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loss, seen = dense.model.losses, []
        monkeypatch.setattr(dense.model, "losses", lambda *args: seen.append(args) or loss(*args))
        _, taps = dense.train().training_step(*batch, dense.taps)
        native, truth = torch.stack(seen[0][2]), torch.stack(seen[0][4])
        assert torch.equal(taps.anchor_labels == -1, native == tiny.K)
        assert torch.equal(taps.anchor_labels == -2, native == -1)
        positive = taps.anchor_labels >= 0
        assert positive.any()
        assert torch.equal(taps.anchor_labels[positive], native[positive])
        moved = decode(taps.anchor_targets, torch.cat(list(taps.anchors.values())))
        torch.testing.assert_close(moved[positive], truth[positive])

    def test_what_the_losses_are_divided_by_is_in_the_state(self, family: str, dense: Detector, batch: Any) -> None:
        """Detectron2 keeps a running mean in no state of its own; without it, a resumed run would go another way."""
        dense.train().training_step(*batch)
        state = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
        onward, _ = dense.training_step(*batch)
        other = detector_of(family, seed=9).train()
        other.load_state_dict(state)
        again, _ = other.training_step(*batch)
        assert {name: loss.item() for name, loss in onward.items()} == {n: loss.item() for n, loss in again.items()}
        assert not [name for name in dense.model.state_dict() if "normalizer" in name]


class TestGFL:
    def test_both_engines_have_the_same_losses_and_boxes(self) -> None:
        """torchvision's, with Detectron2's body and the weights of its head."""
        levels = [[12.0], [22.0], [32.0], [64.0], [96.0]]
        own = detector_of("gfl", finest=4, convolutions=4, group_norm=False, score_threshold=0.2, nms_threshold=1.0)
        other = tiny.detector("gfl", engine="torchvision", widths=[8] * 5, anchors=levels)
        for tensor in (own.model.head.cls_score.bias, own.model.head.bbox_pred.bias):
            torch.nn.init.normal_(tensor)
        torch.nn.init.uniform_(own.model.scales, 0.5, 2.0)
        other.model.load_state_dict(
            other.model.state_dict()
            | {torchvisions(name): tensor for name, tensor in own.model.state_dict().items() if "backbone" not in name}
        )
        other.model.backbone = Body(own.model.backbone)
        other.model.score_thresh, other.model.nms_thresh = own.model.test_score_thresh, own.model.test_nms_thresh
        other.model.topk_candidates = own.model.test_topk_candidates
        images, targets = tiny.batch(3, size=(128, 128))

        losses, taps = own.train().training_step(images, targets, own.taps)
        other_losses, other_taps = other.train().training_step(images, targets, other.taps)
        assert losses.keys() == other_losses.keys()
        for name, loss in losses.items():
            torch.testing.assert_close(loss, other_losses[name])
        assert (taps.anchor_labels >= 0).any()
        assert torch.equal(taps.anchor_labels, other_taps.anchor_labels)
        for tap in ("head_logits", "head_edges", "head_deltas", "anchors"):
            for stride, tensor in getattr(taps, tap).items():
                torch.testing.assert_close(tensor, getattr(other_taps, tap)[stride], rtol=1e-4, atol=1e-5)

        with torch.no_grad():
            found, other_found = own.eval().predict(images), other.eval().predict(images)
        for each, expected in zip(found, other_found, strict=True):
            assert len(each["scores"]) > 0
            torch.testing.assert_close(each["scores"], expected["scores"])
            torch.testing.assert_close(each["boxes"], expected["boxes"], rtol=1e-4, atol=1e-3)
            assert torch.equal(each["labels"], expected["labels"])


class Body(torch.nn.Module):
    """Detectron2's backbone for torchvision's model: RGB to BGR, and levels by stride."""

    def __init__(self, backbone: Any):
        super().__init__()
        self.backbone, self.fpn = backbone, torch.nn.Identity()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        strides = self.backbone.output_shape()
        return self.fpn({str(strides[name].stride): x for name, x in self.backbone(images.flip(1)).items()})


def torchvisions(name: str) -> str:
    """torchvision's name of a tensor of Detectron2's GFL."""
    for pattern, replacement in {
        r"^head\.cls_score": "head.classification_head.cls_logits",
        r"^head\.bbox_pred": "head.regression_head.bbox_reg",
        r"^scales": "head.regression_head.scales",
    }.items():
        name = re.sub(pattern, replacement, name)
    found = re.fullmatch(r"head\.(cls|bbox)_subnet\.(\d+)\.(.*)", name)
    if found is None:
        return name
    tower = {"cls": "classification_head", "bbox": "regression_head"}[found[1]]
    return f"head.{tower}.conv.{int(found[2]) // 2}.0.{found[3]}"


@pytest.mark.parametrize("family", ["retinanet", "fcos", "gfl"])
def test_a_dense_head_on_the_pyramid_of_faster_rcnn(family: str, batch: Any, tmp_path: Path) -> None:
    """Levels of stride 4 to 64, whose trunk a Faster R-CNN gives."""
    detector = detector_of(family, finest=4)
    save_weights(detector_of("faster_rcnn", seed=3), tmp_path / "model.safetensors")
    load_trunk(detector, tmp_path / "model.safetensors")
    losses, taps = detector.train().training_step(*batch, detector.taps)
    assert all(loss.isfinite() for loss in losses.values())
    assert list(taps.head_logits) == ["4", "8", "16", "32", "64"]
    assert list(taps.backbone) == ["4", "8", "16", "32"]


def test_the_canonical_size_says_which_level_a_roi_is_pooled_from() -> None:
    boxes = [Boxes(torch.tensor([[0.0, 0, side, side] for side in (27, 29, 55, 57)]))]
    pools = [detector_of("faster_rcnn", **sizes).model.roi_heads.box_pooler for sizes in ({}, {"roi_canonical": 56})]
    found = [
        assign_boxes_to_levels(boxes, p.min_level, p.max_level, p.canonical_box_size, p.canonical_level) + p.min_level
        for p in pools
    ]
    assert [each.tolist() for each in found] == [[2, 2, 2, 2], [2, 3, 3, 4]]


def test_published_sizes_are_the_default() -> None:
    """Parameters of the models of configs/common/models with R50, 80 classes."""
    for family, millions in (("faster_rcnn", 41.7), ("retinanet", 38.0), ("fcos", 32.3), ("gfl", 32.3)):
        detector = build("detectron2", {"family": family, "weights": "imagenet"}, 80, "student.yaml")
        found = sum(parameter.numel() for parameter in detector.parameters())
        assert found / 1e6 == pytest.approx(millions, abs=0.1), family


def test_training_needs_no_storage_and_leaves_an_outer_one_alone(batch: Any) -> None:
    detector = detector_of("faster_rcnn").train()
    with EventStorage() as storage:
        detector.training_step(*batch)
        assert not storage.latest()
