"""What the detectors of the Detectron2 engine tell, against Detectron2 itself: heads, boxes, assignments."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from detdistill.detectors import build
from detdistill.detectors.base import Detector, Taps
from detdistill.distill.base import STUDENT_ONLY
from detdistill.distill.cnn.head.crosskd import decode

pytest.importorskip("detectron2", reason="the engine detectron2 is not installed")

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
    @pytest.fixture(params=["retinanet", "fcos"])
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


def test_published_sizes_are_the_default() -> None:
    """Parameters of the models of configs/common/models with R50, 80 classes."""
    for family, millions in (("faster_rcnn", 41.7), ("retinanet", 38.0), ("fcos", 32.3)):
        detector = build("detectron2", {"family": family, "weights": "imagenet"}, 80, "student.yaml")
        found = sum(parameter.numel() for parameter in detector.parameters())
        assert found / 1e6 == pytest.approx(millions, abs=0.1), family


def test_training_needs_no_storage_and_leaves_an_outer_one_alone(batch: Any) -> None:
    detector = detector_of("faster_rcnn").train()
    with EventStorage() as storage:
        detector.training_step(*batch)
        assert not storage.latest()
