"""What every engine's detector must do, whichever engine and family: the contract of `detectors.base`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import native
import pytest
import tiny
import torch
from torch import Tensor

from detdistill.core.errors import UserError
from detdistill.detectors.base import Detector, Queries, Taps
from detdistill.detectors.recorder import Recorder
from detdistill.detectors.weights import load_trunk, load_weights, save_weights
from detdistill.distill.base import STUDENT_ONLY

CHANNELS = ({"4": 8, "8": 16}, {"4": 8, "8": 8})
# tap -> its shape a level, of N images, M anchors a level, R RoIs, Q queries
SHAPES: dict[str, tuple[Any, ...]] = {
    "anchors": ("M", 4),
    "anchor_labels": ("N", "sum M"),
    "anchor_targets": ("N", "sum M", 4),
    "rpn_logits": ("N", "M"),
    "rpn_deltas": ("N", "M", 4),
    "head_logits": ("N", "M", tiny.K),
    "head_deltas": ("N", "M", 4),
    "head_edges": ("N", "M", 4, 17),
    "roi_maps": ("R", 8, 3, 3),
    "roi_features": ("R", 16),
    "roi_logits": ("R", tiny.K + 1),
    "roi_deltas": ("R", tiny.K, 4),
    "roi_labels": ("R",),
    "roi_targets": ("R", 4),
    "queries": ("N", "Q", 32),
    "query_logits": ("N", "Q", tiny.K),
    "query_boxes": ("N", "Q", 4),
}
MAPS = frozenset({"backbone", "neck", "memory", "head_cls_features", "head_box_features"})


@pytest.fixture(params=list(tiny.SIZES), ids="-".join)
def which(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Engine and family."""
    return request.param


@pytest.fixture
def detector(which: tuple[str, str]) -> Detector:
    return tiny.detector(which[1], engine=which[0])


def values(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: loss.item() for name, loss in losses.items()}


def parts(tap: Any) -> list[Tensor]:
    """The tensors of a tap."""
    if isinstance(tap, Queries):
        return [tap.content, tap.boxes]
    return list(tap.values()) if isinstance(tap, dict) else list(tap)


class TestTraining:
    def test_tapping_everything_leaves_the_native_losses_to_the_bit(self, detector: Detector, batch: Any) -> None:
        detector.train()
        state = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
        torch.manual_seed(7)
        plain, nothing = detector.training_step(*batch)
        detector.load_state_dict(state)
        torch.manual_seed(7)
        tapped, taps = detector.training_step(*batch, detector.taps)
        assert values(plain) == values(tapped)
        assert nothing == Taps()
        assert taps.neck

    def test_they_are_the_engines_own_losses(self, which: tuple[str, str], detector: Detector, batch: Any) -> None:
        detector.train()
        state = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
        torch.manual_seed(7)
        expected = values(native.LOSSES[which[0]](detector, *batch))
        detector.load_state_dict(state)
        torch.manual_seed(7)
        losses = values(detector.training_step(*batch)[0])
        if expected.keys() == {"sum"}:
            assert sum(losses.values()) == pytest.approx(expected["sum"], rel=1e-6)
        else:
            assert losses == expected

    def test_a_step_hangs_on_seed_and_batch_alone(self, detector: Detector, batch: Any) -> None:
        images, targets = batch
        detector.train()
        state = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
        steps = []
        for _ in range(2):
            detector.load_state_dict(state)
            detector.zero_grad()
            torch.manual_seed(7)
            losses, _ = detector.training_step(images, targets, detector.taps)
            torch.stack(list(losses.values())).sum().backward()
            steps.append((values(losses), [parameter.grad.clone() for parameter in detector.parameters()]))
            detector.training_step([images[0][:, :48, :48]], targets[2:])  # a batch of another size in between
        assert steps[0][0] == steps[1][0]
        assert all(torch.equal(a, b) for a, b in zip(steps[0][1], steps[1][1], strict=True))

    def test_the_same_seed_builds_the_same_weights(self, which: tuple[str, str], detector: Detector) -> None:
        other = tiny.detector(which[1], engine=which[0]).model.state_dict()
        assert all(torch.equal(tensor, other[name]) for name, tensor in detector.model.state_dict().items())

    def test_gradients_reach_every_parameter(self, detector: Detector, batch: Any) -> None:
        losses, _ = detector.train().training_step(*batch)
        torch.stack(list(losses.values())).sum().backward()
        assert not [path for path, parameter in detector.named_parameters() if parameter.grad is None]

    def test_images_without_objects_are_fine(self, detector: Detector, batch: Any) -> None:
        images, targets = batch
        losses, _ = detector.train().training_step(images[:2], [targets[2]] * 2, detector.taps)
        assert all(loss.isfinite() for loss in losses.values())

    def test_targets_and_images_are_not_changed(self, detector: Detector, batch: Any) -> None:
        images, targets = batch
        copies = [image.clone() for image in images], [{k: v.clone() for k, v in target.items()} for target in targets]
        detector.train().training_step(images, targets, detector.taps)
        assert all(torch.equal(a, b) for a, b in zip(images, copies[0], strict=True))
        assert all(torch.equal(t[k], c[k]) for t, c in zip(targets, copies[1], strict=True) for k in t)


class TestTaps:
    def test_shapes(self, which: tuple[str, str], detector: Detector, batch: Any) -> None:
        _, taps = detector.train().training_step(*batch, detector.taps)
        levels = {int(level): level for level in tiny.CHANNELS.get(which, CHANNELS)[1]}
        cells = {level: (-(-tiny.WIDE[0] // stride), -(-tiny.WIDE[1] // stride)) for stride, level in levels.items()}
        anchors = {level: h * w for level, (h, w) in cells.items()}
        known = {"N": 3, "sum M": sum(anchors.values()), "R": sum(map(len, taps.roi_boxes)), "Q": detector.num_queries}
        assert taps.image_size == tiny.WIDE
        for name in detector.taps - {"roi_boxes", "initial_queries"}:
            tap = getattr(taps, name)
            for level, tensor in tap.items() if isinstance(tap, dict) else [("", tap)]:
                sizes = known | {"M": anchors.get(level)}
                if name in MAPS:
                    assert (len(tensor), *tensor.shape[2:]) == (3, *cells[level]), name
                else:
                    assert tensor.shape == tuple(sizes.get(size, size) for size in SHAPES[name]), name
            # The backbone may end before the neck does.
            assert not isinstance(tap, dict) or list(tap) in (list(cells)[: len(tap)], ["0", "1"]), name

    def test_only_what_is_wanted_is_recorded(self, detector: Detector, batch: Any) -> None:
        taps = detector.eval().observe(batch[0], frozenset({"neck"}))
        assert taps.neck
        assert not any((taps.rpn_logits, taps.head_logits, taps.roi_boxes, taps.head_cls_features, taps.queries))

    def test_each_wanted_tap_alone_comes(self, detector: Detector, batch: Any) -> None:
        images, targets = batch
        rois = [torch.tensor([[8.0, 8, 40, 40]])] * 3
        for tap in sorted(detector.taps):
            _, taps = detector.train().training_step(images, targets, frozenset({tap}))
            assert parts(getattr(taps, tap)), tap
            if tap not in STUDENT_ONLY:
                assert parts(getattr(detector.eval().observe(images, frozenset({tap}), rois), tap)), tap

    def test_the_student_taps_carry_gradients_and_a_teacher_takes_none(self, detector: Detector, batch: Any) -> None:
        _, taps = detector.train().training_step(*batch, frozenset({"neck"}))
        assert all(level.requires_grad for level in taps.neck.values())
        with torch.no_grad():
            taps = detector.eval().observe(batch[0], frozenset({"neck"}))
        assert not any(level.requires_grad for level in taps.neck.values())

    def test_background(self, which: tuple[str, str], detector: Detector, batch: Any) -> None:
        """Softmax has K + 1 columns, background last; sigmoid has K."""
        _, taps = detector.train().training_step(*batch, detector.taps)
        logits = [taps.roi_logits] if which[1].startswith("faster_rcnn") else [*taps.head_logits.values()]
        logits += taps.query_logits.values()
        assert {tensor.shape[-1] for tensor in logits} == {tiny.K + (detector.background == "softmax")}

    def test_channels_and_shapes_leave_the_mode_as_it_was(self, which: tuple[str, str], detector: Detector) -> None:
        backbone, neck = tiny.CHANNELS.get(which, CHANNELS)
        assert detector.train().channels(frozenset({"backbone", "neck"})) == {"backbone": backbone, "neck": neck}
        assert all(module.training for module in detector.model.modules())


class TestPrediction:
    def test_it_is_the_engines_own(self, which: tuple[str, str], detector: Detector, batch: Any) -> None:
        """Of images of different sizes, too: boxes are in pixels of each."""
        images = [batch[0][0], batch[0][1][:, :50, :70], batch[0][2]]
        detector.eval()
        if which[1].startswith(("retinanet", "gfl", "fcos")):  # untrained, they score all below what they keep
            head = detector.model.head
            score = head.cls_score if which[0] == "detectron2" else head.classification_head.cls_logits
            torch.nn.init.zeros_(score.bias)
        with torch.no_grad():
            found, expected = detector.predict(images), native.PREDICTIONS[which[0]](detector, images)
        for ours, theirs in zip(found, expected, strict=True):
            count = len(theirs["scores"])  # transformers' RT-DETR stops at one a query
            assert 0 < count <= len(ours["scores"])
            assert all(torch.equal(ours[key][:count], theirs[key]) for key in ("boxes", "scores", "labels"))
            assert ((ours["labels"] >= 0) & (ours["labels"] < tiny.K)).all()
            assert (ours["scores"].diff() <= 0).all()

    def test_checkpoints_load_into_the_engines_plain_model(
        self, which: tuple[str, str], detector: Detector, batch: Any, tmp_path: Path
    ) -> None:
        detector.train().training_step(*batch)  # so that the running statistics are not the initial ones
        save_weights(detector, tmp_path / "model.safetensors")
        other = tiny.detector(which[1], seed=9, engine=which[0])
        load_weights(other, tmp_path / "model.safetensors")
        with torch.no_grad():
            found, again = detector.eval().predict(batch[0]), other.eval().predict(batch[0])
        assert all(torch.equal(a[key], b[key]) for a, b in zip(found, again, strict=True) for key in a)
        other.model.load_state_dict(detector.model.state_dict(), strict=True)

    def test_a_checkpoint_of_another_architecture_is_refused(
        self, which: tuple[str, str], detector: Detector, tmp_path: Path
    ) -> None:
        save_weights(detector, tmp_path / "model.safetensors")
        wider = tiny.teacher(which[1], engine=which[0])
        with pytest.raises(UserError, match=r"model.safetensors: a checkpoint of another architecture: .*backbone\."):
            load_weights(wider, tmp_path / "model.safetensors")

    def test_its_trunk_is_that_of_a_detector_of_the_same_sizes(
        self, which: tuple[str, str], detector: Detector, batch: Any, tmp_path: Path
    ) -> None:
        """Backbone and neck go from any that shares them to any other, running statistics with them."""
        for engine, family in tiny.SHARED_TRUNK if which in tiny.SHARED_TRUNK else [which]:
            other = tiny.detector(family, seed=9, engine=engine)
            other.train().training_step(*batch)
            save_weights(other, tmp_path / "model.safetensors")
            load_trunk(detector, tmp_path / "model.safetensors")
            necks = [each.eval().observe(batch[0], frozenset({"neck"})).neck for each in (detector, other)]
            assert all(torch.equal(necks[0][stride], necks[1][stride]) for stride in necks[1]), family


def test_a_path_that_does_not_exist_fails_at_once_with_the_near_name() -> None:
    with pytest.raises(UserError, match=r"FasterRCNN has no module 'rpn.haed' to tap; did you mean 'rpn.head'\?"):
        Recorder(tiny.detector("faster_rcnn").model, ["rpn.haed"])


def test_hooks_are_gone_after_an_error() -> None:
    model = tiny.detector("faster_rcnn").model
    own = dict(model.rpn.head._forward_hooks)
    with pytest.raises(ZeroDivisionError), Recorder(model, ["rpn.head"]):
        raise ZeroDivisionError
    assert dict(model.rpn.head._forward_hooks) == own


def test_a_two_stage_detector_finishes_no_dense_head() -> None:
    with pytest.raises(UserError, match="has no dense head"):
        tiny.detector("faster_rcnn").finish_head({}, {})
