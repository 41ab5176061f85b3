"""What is particular to detectors with anchors: order, assignment, the RPN, the RoI head and the dense head."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from detdistill.core.errors import UserError
from detdistill.detectors.base import Detector, Taps
from detdistill.detectors.recorder import Recorder
from detdistill.distill.base import STUDENT_ONLY
from detdistill.distill.cnn.head.crosskd import decode

SIZE = tiny.WIDE


@pytest.fixture(params=["faster_rcnn", "retinanet", "gfl"])
def detector(request: pytest.FixtureRequest) -> Detector:
    return tiny.detector(request.param)


def observed(detector: Detector, images: list[Tensor], rois: list[Tensor]) -> Taps:
    with torch.no_grad():
        return detector.eval().observe(images, detector.taps - STUDENT_ONLY, rois)


class TestAnchors:
    def test_anchors_are_ordered_row_by_row(self, detector: Detector, batch: Any) -> None:
        taps = observed(detector, batch[0], [torch.zeros(1, 4)] * 3)
        for stride, anchors in taps.anchors.items():
            centers = ((anchors[:, :2] + anchors[:, 2:]) / 2).view(SIZE[0] // int(stride), SIZE[1] // int(stride), 2)
            assert (centers[0, 1] - centers[0, 0]).tolist() == [int(stride), 0]
            assert (centers[1, 0] - centers[0, 0]).tolist() == [0, int(stride)]

    def test_an_anchor_that_is_its_object_is_positive_with_zero_deltas(self, detector: Detector, batch: Any) -> None:
        images, _ = batch
        anchors = detector.eval().observe(images[:1], frozenset({"anchors"})).anchors["8"]
        row = 5 * (SIZE[1] // 8) + 4
        targets = [{"boxes": anchors[row : row + 1], "labels": torch.tensor([2])}]
        _, taps = detector.train().training_step(images[:1], targets, frozenset({"anchor_labels", "anchor_targets"}))
        index = (SIZE[0] // 4) * (SIZE[1] // 4) + row
        assert taps.anchor_labels[0, index] == (0 if detector.background == "softmax" else 2)
        assert taps.anchor_targets[0, index].tolist() == pytest.approx([0, 0, 0, 0], abs=1e-6)
        assert taps.anchor_labels[0, 0] == -1
        assert set(taps.anchor_labels.unique().tolist()) <= {-2, -1, 0, 2}


class TestTwoStage:
    """Region proposals and the RoI head."""

    @pytest.fixture
    def detector(self) -> Detector:
        return tiny.detector("faster_rcnn")

    def test_rpn_taps_decode_to_the_engines_own_proposals(self, detector: Detector, batch: Any) -> None:
        images, _ = batch
        taps = observed(detector, images, [torch.zeros(1, 4)] * 3)
        rpn = detector.model.rpn
        kept = Recorder(detector.model, ["rpn"])
        with kept, torch.no_grad():
            detector.model(images)
        proposals = kept.calls["rpn"][0].output[0]
        anchors = torch.cat(list(taps.anchors.values()))
        logits, deltas = (torch.cat(list(tap.values()), dim=1) for tap in (taps.rpn_logits, taps.rpn_deltas))
        boxes = decode(deltas, anchors)
        limit = boxes.new_tensor([SIZE[1], SIZE[0]]).repeat(2)
        expected, _ = rpn.filter_proposals(
            boxes, logits.flatten()[:, None], [SIZE] * 3, [len(level) for level in taps.anchors.values()]
        )
        for ours, theirs in zip(expected, proposals, strict=True):
            torch.testing.assert_close(ours, theirs)
            assert (ours <= limit).all()

    def test_the_roi_head_at_given_boxes_is_the_native_one_to_the_bit(self, detector: Detector, batch: Any) -> None:
        images, _ = batch
        rois = [torch.tensor([[8.0, 8, 40, 40], [2, 30, 18, 60]]), torch.zeros(0, 4), torch.tensor([[50.0, 1, 90, 20]])]
        taps = observed(detector, images, rois)
        heads = detector.model.roi_heads
        with torch.no_grad():
            batch_, _ = detector.model.transform(images)
            features = detector.model.backbone(batch_.tensors)
            maps = heads.box_roi_pool(features, rois, batch_.image_sizes)
            hidden = heads.box_head(maps)
            logits, deltas = heads.box_predictor(hidden)
        assert torch.equal(taps.roi_maps, maps)
        assert torch.equal(taps.roi_features, hidden)
        assert torch.equal(taps.roi_logits, torch.cat([logits[:, 1:], logits[:, :1]], dim=1))
        assert torch.equal(taps.roi_deltas[:, 1], deltas[:, 8:12])

    def test_roi_assignments_are_those_that_the_engine_trained_on(
        self, detector: Detector, batch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heads = detector.model.roi_heads
        select, seen = heads.select_training_samples, []
        monkeypatch.setattr(heads, "select_training_samples", lambda *args: seen.append(select(*args)) or seen[-1])
        _, taps = detector.train().training_step(*batch, detector.taps)
        boxes, _, labels, targets = seen[0]
        native = torch.cat(labels)
        assert (native > 0).any()
        assert all(torch.equal(a, b) for a, b in zip(taps.roi_boxes, boxes, strict=True))
        assert torch.equal(taps.roi_labels, torch.where(native == 0, tiny.K, native - 1))
        positive = native > 0
        assert torch.equal(taps.roi_targets[positive], torch.cat(targets)[positive])

    def test_anchor_assignments_are_those_that_the_engine_trained_on(
        self, detector: Detector, batch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rpn, seen = detector.model.rpn, []
        loss = rpn.compute_loss
        monkeypatch.setattr(rpn, "compute_loss", lambda *args: seen.append(args) or loss(*args))
        _, taps = detector.train().training_step(*batch, detector.taps)
        labels, targets = (torch.stack(list(values)) for values in seen[0][2:])
        assert torch.equal(taps.anchor_labels, labels.long() - 1)
        positive = labels > 0
        assert torch.equal(taps.anchor_targets[positive], targets[positive])


class TestDense:
    """A dense head with two towers, long and short ones, with and without normalisation in them."""

    @pytest.fixture(params=["retinanet", "gfl"])
    def family(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture(params=[(None, 4), (4, 4), (4, 2)], ids=["plain", "group_norm", "short"])
    def detector(self, request: pytest.FixtureRequest, family: str) -> Detector:
        norm_groups, convolutions = request.param
        return tiny.detector(family, norm_groups=norm_groups, convolutions=convolutions)

    def test_finishing_its_own_tower_features_gives_its_own_predictions(self, detector: Detector, batch: Any) -> None:
        taps = observed(detector, batch[0], [])
        with torch.no_grad():
            finished = detector.finish_head(taps.head_cls_features, taps.head_box_features)
        for stride in taps.neck:
            assert torch.equal(finished.head_logits[stride], taps.head_logits[stride])
            assert torch.equal(finished.head_deltas[stride], taps.head_deltas[stride])
        assert finished.head_edges.keys() == taps.head_edges.keys()
        assert all(torch.equal(edges, taps.head_edges[stride]) for stride, edges in finished.head_edges.items())

    def test_its_towers_have_the_convolutions_that_were_asked_for_and_at_most_four(self, family: str) -> None:
        for count in (2, 3, 4):
            head = tiny.detector(family, convolutions=count).model.head
            assert [len(head.classification_head.conv), len(head.regression_head.conv)] == [count, count]
        with pytest.raises(UserError, match=r"convolutions: .*less than or equal to 4, found 5"):
            tiny.detector(family, convolutions=5)

    def test_tower_features_are_before_their_activation(self, detector: Detector, batch: Any) -> None:
        taps = observed(detector, batch[0], [])
        assert all(
            (features < 0).any() for features in (*taps.head_cls_features.values(), *taps.head_box_features.values())
        )

    def test_head_taps_decode_to_the_engines_own_boxes(self, detector: Detector, batch: Any) -> None:
        taps = observed(detector, batch[0][:1], [])
        with torch.no_grad():
            torch.nn.init.constant_(detector.model.head.classification_head.cls_logits.bias, 0.0)
            (found,) = detector.predict(batch[0][:1])
        anchors = torch.cat(list(taps.anchors.values()))
        boxes = decode(torch.cat(list(taps.head_deltas.values()), dim=1)[0], anchors)
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([SIZE[1], SIZE[0]]).repeat(2))
        distances = (found["boxes"][:, None] - boxes).abs().amax(-1).amin(1)
        assert len(found["boxes"]) > 0
        assert distances.max() < 1e-3

    @pytest.mark.parametrize("family", ["retinanet"])
    def test_anchor_assignments_are_those_that_the_engine_trained_on(
        self, detector: Detector, batch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        images, targets = batch
        head, seen = detector.model.head, []
        loss = head.compute_loss
        monkeypatch.setattr(head, "compute_loss", lambda *args: seen.append(args[3]) or loss(*args))
        _, taps = detector.train().training_step(images, targets, detector.taps)
        matched = torch.stack(seen[0])
        expected = matched.clone()
        for i, target in enumerate(targets):
            expected[i][matched[i] >= 0] = target["labels"][matched[i][matched[i] >= 0]]
        assert torch.equal(taps.anchor_labels, expected)
        assert (matched >= 0).any()
