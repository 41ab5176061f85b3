"""The Detectron2 engine against Detectron2 itself: assignments, boxes, evaluators, configs, weights, resizing."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import yaml
from PIL import Image
from torch import Tensor
from torchvision.models import resnet18, resnet50

from detdistill import data
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import sha256
from detdistill.dataset.manifest import Split
from detdistill.dataset.records import Record
from detdistill.detectors import build
from detdistill.detectors.base import Detector
from detdistill.detectors.weights import load_weights, save_weights
from detdistill.distill.base import STUDENT_ONLY
from detdistill.distill.cnn.head.crosskd import decode
from detdistill.evaluate.coco import coco_metrics
from detdistill.evaluate.voc import voc_metrics
from detdistill.train import step as train
from detdistill.train.checkpoint import Scratch

pytest.importorskip("detectron2", reason="the engine detectron2 is not installed")

from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.evaluation import COCOEvaluator, PascalVOCDetectionEvaluator
from detectron2.modeling import build_model
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.events import EventStorage
from safetensors.torch import load_file

from detdistill.engines.detectron2.weights import _named

FAMILIES = [family for engine, family in tiny.SIZES if engine == "detectron2"]
DENSE = [family for family in FAMILIES if family != "faster_rcnn"]
SIZE = (64, 96)
ROIS = [torch.tensor([[8.0, 8, 40, 40], [2, 30, 18, 60]]), torch.zeros(0, 4), torch.tensor([[50.0, 1, 90, 20]])]


def detector_of(family: str, **changes: Any) -> Detector:
    return tiny.detector(family, engine="detectron2", **changes)


@pytest.fixture(params=DENSE)
def dense(request: pytest.FixtureRequest) -> Detector:
    return detector_of(request.param)


@pytest.fixture
def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Three images of other than square shape: one object, two, none."""
    _, targets = tiny.batch(3)
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(3, *SIZE, generator=generator) for _ in range(3)], targets


def observed(detector: Detector, images: list[Tensor]) -> Any:
    with torch.no_grad():
        return detector.eval().observe(images, detector.taps - STUDENT_ONLY, ROIS)


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
        boxes = decode(torch.cat(list(taps.rpn_deltas.values()), dim=1), torch.cat(list(taps.anchors.values())))
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([SIZE[1], SIZE[0]]).repeat(2))
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
    def test_finishing_its_own_tower_features_gives_its_own_predictions(self, dense: Detector, batch: Any) -> None:
        taps = observed(dense, batch[0])
        with torch.no_grad():
            logits, deltas = dense.finish_head(taps.head_cls_features, taps.head_box_features)
        assert all(torch.equal(logits[stride], taps.head_logits[stride]) for stride in taps.neck)
        assert all(torch.equal(deltas[stride], taps.head_deltas[stride]) for stride in taps.neck)

    def test_tower_features_are_before_their_activation(self, dense: Detector, batch: Any) -> None:
        taps = observed(dense, batch[0])
        features = (*taps.head_cls_features.values(), *taps.head_box_features.values())
        assert all((each < 0).any() for each in features if each.shape[-1] > 1)

    def test_head_taps_decode_to_the_engines_own_boxes(self, dense: Detector, batch: Any) -> None:
        torch.nn.init.zeros_(dense.model.head.cls_score.bias)  # untrained, it scores all below what it keeps
        taps = observed(dense, batch[0][:1])
        with torch.no_grad():
            (found,) = dense.predict(batch[0][:1])
        boxes = decode(torch.cat(list(taps.head_deltas.values()), dim=1)[0], torch.cat(list(taps.anchors.values())))
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([SIZE[1], SIZE[0]]).repeat(2))
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

    def test_what_the_losses_are_divided_by_is_in_the_state(self, dense: Detector, batch: Any) -> None:
        """Detectron2 keeps a running mean in no state of its own; without it, a resumed run would go another way."""
        dense.train().training_step(*batch)
        state = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
        onward, _ = dense.training_step(*batch)
        other = detector_of("retinanet" if dense.model.__class__.__name__ == "RetinaNet" else "fcos", seed=9).train()
        other.load_state_dict(state)
        again, _ = other.training_step(*batch)
        assert {name: loss.item() for name, loss in onward.items()} == {n: loss.item() for n, loss in again.items()}
        assert not [name for name in dense.model.state_dict() if "normalizer" in name]


LACKING = {"faster_rcnn": tiny.NEEDS_DENSE_HEAD, "retinanet": tiny.NEEDS_RPN, "fcos": tiny.NEEDS_RPN}
CASES = [(family, method) for family, lacking in LACKING.items() for method in tiny.METHODS if method not in lacking]


@pytest.mark.parametrize(("family", "method"), CASES)
def test_every_method_trains_every_parameter_and_leaves_the_teacher_alone(family: str, method: str) -> None:
    own, other = detector_of(family), tiny.teacher(family, engine="detectron2")
    params = tiny.METHODS[method] | ({"strides": [8, 16]} if method == "fitnets" else {})
    distillation = tiny.distillation(family, {method: params}, student=own, other=other).train()
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    losses = distillation(*tiny.batch(3))
    assert any(name.startswith(f"{method}.") for name in losses)
    assert all(loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert not [name for name, parameter in distillation.named_parameters() if parameter.grad is None]
    assert all(parameter.grad is None for parameter in other.parameters())
    assert all(tensor.equal(before[name]) or tensor.isnan() for name, tensor in other.state_dict().items())


CONFIG = {
    "MODEL": {
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "MASK_ON": False,
        "BACKBONE": {"NAME": "build_resnet_fpn_backbone", "FREEZE_AT": 0},
        "RESNETS": {
            "DEPTH": 18,
            "RES2_OUT_CHANNELS": 64,
            "NORM": "BN",
            "STRIDE_IN_1X1": False,
            "OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        },
        "FPN": {"IN_FEATURES": ["res2", "res3", "res4", "res5"], "OUT_CHANNELS": 16},
        "ANCHOR_GENERATOR": {"SIZES": [[32], [64], [128], [256], [512]], "ASPECT_RATIOS": [[0.5, 1.0, 2.0]]},
        "RPN": {"IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"], "PRE_NMS_TOPK_TEST": 1000, "POST_NMS_TOPK_TEST": 50},
        "ROI_HEADS": {"NAME": "StandardROIHeads", "IN_FEATURES": ["p2", "p3", "p4", "p5"]},
        "ROI_BOX_HEAD": {"NAME": "FastRCNNConvFCHead", "NUM_FC": 2, "FC_DIM": 16, "POOLER_RESOLUTION": 7},
        "PIXEL_STD": [57.375, 57.12, 58.395],
    }
}
CASCADE = "MODEL: {ROI_HEADS: {NAME: CascadeROIHeads}, ROI_BOX_HEAD: {CLS_AGNOSTIC_BBOX_REG: true}}"
WITHOUT_PYRAMID = """
MODEL:
  BACKBONE: {NAME: build_resnet_backbone}
  RESNETS: {OUT_FEATURES: [res4]}
  ANCHOR_GENERATOR: {SIZES: [[32]]}
  RPN: {IN_FEATURES: [res4]}
  ROI_HEADS: {IN_FEATURES: [res4]}
"""
SAME = {
    "family": "faster_rcnn", "depth": 18, "neck_channels": 16, "hidden": 16, "norm": "BN", "freeze": 0,
    "rpn_post_nms_test": 50,
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(CONFIG))
    return file


def test_a_killed_training_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = "smoke_detectron2"
    shutil.copytree(Path("params", study), tmp_path / "params" / study)
    monkeypatch.chdir(tmp_path)
    data.make(study)
    train.train_start(study, "retinanet")
    model = paths.start(study, "retinanet")
    straight = sha256(model)
    model.unlink()
    save, saved = Scratch.save, []

    def killed(scratch: Scratch, state: dict[str, Any]) -> None:
        save(scratch, state)
        saved.append(state["step"])
        raise KeyboardInterrupt

    for _ in range(2):  # each process comes one checkpoint further
        monkeypatch.setattr(Scratch, "save", killed)
        with contextlib.suppress(KeyboardInterrupt):
            train.train_start(study, "retinanet")
        assert not model.exists()
    monkeypatch.setattr(Scratch, "save", save)
    train.train_start(study, "retinanet")
    assert saved == [4, 8]
    assert sha256(model) == straight


class TestPlainDetectron2:
    def test_an_exported_student_loads_strictly_and_detects_the_same(self, config: Path, batch: Any) -> None:
        torch.manual_seed(0)
        student = build("detectron2", SAME, tiny.K, "student.yaml")
        student.train().training_step(*batch)
        save_weights(student, config.parent / "model.safetensors")
        cfg = get_cfg()
        cfg.merge_from_file(str(config))
        cfg.MODEL.DEVICE, cfg.MODEL.ROI_HEADS.NUM_CLASSES = "cpu", tiny.K
        plain = build_model(cfg)
        plain.load_state_dict(load_file(config.parent / "model.safetensors"), strict=True)
        pixels = [(255 * image).byte() for image in batch[0]]
        with torch.no_grad():
            found = student.eval().predict([image / 255 for image in pixels])
            native = plain.eval()([{"image": image.flip(0)} for image in pixels])
        for ours, theirs in zip(found, native, strict=True):
            assert len(ours["scores"]) > 0
            assert torch.equal(ours["boxes"], theirs["instances"].pred_boxes.tensor)
            assert torch.equal(ours["scores"], theirs["instances"].scores)
            assert torch.equal(ours["labels"], theirs["instances"].pred_classes)

    def test_a_users_config_is_the_same_detector(self, config: Path, batch: Any) -> None:
        own = build("detectron2", SAME, tiny.K, "student.yaml")
        mine = build("detectron2", {"config": str(config)}, tiny.K, "student.yaml")
        save_weights(own, config.parent / "model.safetensors")
        load_weights(mine, config.parent / "model.safetensors")
        torch.manual_seed(7)
        expected, _ = own.train().training_step(*batch)
        torch.manual_seed(7)
        losses, _ = mine.train().training_step(*batch, mine.taps)
        assert {name: loss.item() for name, loss in losses.items()} == {n: v.item() for n, v in expected.items()}

    def test_a_python_config_is_run_only_with_leave(self, tmp_path: Path, batch: Any) -> None:
        file, trace = tmp_path / "mine.py", tmp_path / "ran"
        file.write_text(f"open({str(trace)!r}, 'w').close()\n" + LAZY)
        with pytest.raises(UserError, match=r"mine\.py is Python and would be run; say allow_code: true"):
            build("detectron2", {"config": str(file)}, tiny.K, "student.yaml")
        assert not trace.exists()
        detector = build("detectron2", {"config": str(file), "allow_code": True}, tiny.K, "student.yaml")
        losses, taps = detector.train().training_step(*batch, detector.taps)
        assert losses.keys() == {"loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr"}
        assert taps.head_logits["8"].shape[-1] == tiny.K

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("MODEL: !!python/object/apply:os.getcwd []", "would run code; say allow_code: true"),
            ("MODEL: {MASKS_ON: true}", "cannot build it: KeyError: .*MASKS_ON"),
            ("MODEL: [", "cannot build it: ParserError"),
            ("MODEL: {MASK_ON: true}", "boxes alone"),
            (
                "MODEL: {ROI_HEADS: {NAME: CascadeROIHeads}, ROI_BOX_HEAD: {CLS_AGNOSTIC_BBOX_REG: true}}",
                "CascadeROIHeads",
            ),
            ("MODEL: {META_ARCHITECTURE: ProposalNetwork}", "ProposalNetwork has no taps here"),
            ("MODEL: {BACKBONE: {NAME: build_resnet_backbone}}", "cannot build it: KeyError: 'p2'"),
            (WITHOUT_PYRAMID, "GeneralizedRCNN has no feature pyramid"),
        ],
    )
    def test_configs_that_cannot_be_used_are_told(self, config: Path, text: str, message: str) -> None:
        changed = config.with_name("changed.yaml")
        changed.write_text(f"_BASE_: {config}\n{text}\n")
        with pytest.raises(UserError, match=f"student.yaml: detector.config: .*{message}"):
            build("detectron2", {"config": str(changed)}, tiny.K, "student.yaml")

    def test_a_missing_config_is_told(self) -> None:
        with pytest.raises(UserError, match=r"detector.config: mine\.yaml: no such file"):
            build("detectron2", {"config": "mine.yaml"}, tiny.K, "student.yaml")


LAZY = """
from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import FPN, BasicStem, ResNet
from detectron2.modeling.backbone.fpn import LastLevelP6P7
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead

body = L(ResNet)(stem=L(BasicStem)(norm="BN"), stages=L(ResNet.make_default_stages)(depth=18, norm="BN"),
                 out_features=["res3", "res4", "res5"])
model = L(FCOS)(
    backbone=L(FPN)(bottom_up=body, in_features=["res3", "res4", "res5"], out_channels=16,
                    top_block=L(LastLevelP6P7)(in_channels=16, out_channels=16, in_feature="p5")),
    head=L(FCOSHead)(input_shape=[ShapeSpec(channels=16)] * 5, num_classes="${..num_classes}", conv_dims=[16, 16]),
    num_classes=80, pixel_mean=[103.53, 116.28, 123.675], pixel_std=[57.375, 57.12, 58.395],
)
"""


def split_and_predictions(images: int = 12) -> tuple[Split, list[dict[str, Tensor]]]:
    """Objects in whole pixels and detections near them, with scores of three and boxes of one decimal: no ties."""
    generator = torch.Generator().manual_seed(4)
    scores = (torch.randperm(900, generator=generator) + 50).tolist()
    records, predictions = [], []
    for number in range(1, images + 1):
        count = 1 + number % 3
        corners = torch.randint(0, 60, (count, 2), generator=generator)
        boxes = torch.cat([corners, corners + torch.randint(20, 60, (count, 2), generator=generator)], 1).float()
        labels = torch.arange(count) % 2
        flags = torch.zeros(count, dtype=torch.bool)
        difficult = flags.clone()
        difficult[0] = number % 5 == 0
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1).double()
        file = {"image_id": number, "file_name": f"{number}.png", "width": 128, "height": 128}
        objects = {"boxes": boxes, "labels": labels, "areas": areas, "iscrowd": flags, "difficult": difficult}
        records.append(Record(**file, sha256=None, file_sha256=None, **objects))
        noise = torch.randint(-90, 90, boxes.shape, generator=generator) / 10
        found = torch.cat([boxes + noise, boxes[:1] + 3.5])
        values = torch.tensor([scores.pop() / 1000 for _ in found])
        order = values.argsort(descending=True)
        classes = torch.cat([labels, labels[:1]])
        predictions.append({"boxes": found[order], "scores": values[order], "labels": classes[order]})
    return Split(records, ["cat", "dog"], Path("nowhere")), predictions


def evaluated(evaluator: Any, split: Split, predictions: list[dict[str, Tensor]], names: list[Any]) -> dict[str, float]:
    evaluator.reset()
    for name, found in zip(names, predictions, strict=True):
        instances = Instances((128, 128), pred_boxes=Boxes(found["boxes"]), scores=found["scores"])
        instances.pred_classes = found["labels"]
        evaluator.process([{"image_id": name}], [{"instances": instances}])
    return evaluator.evaluate()["bbox"]


class TestEvaluators:
    """Detectron2's own evaluators find what ours find, on the same predictions."""

    def test_coco(self, tmp_path: Path) -> None:
        split, predictions = split_and_predictions()

        def dicts() -> list[dict[str, Any]]:
            return [
                {
                    "image_id": each.image_id, "file_name": each.file_name, "height": 128, "width": 128,
                    "annotations": [
                        {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label, "iscrowd": 0}
                        for box, label in zip(each.boxes.tolist(), each.labels.tolist(), strict=True)
                    ],
                }
                for each in split.records
            ]  # fmt: skip

        name = f"coco {tmp_path}"
        DatasetCatalog.register(name, dicts)
        MetadataCatalog.get(name).set(thing_classes=split.classes)
        evaluator = COCOEvaluator(name, tasks=("bbox",), distributed=False, output_dir=str(tmp_path))
        theirs = evaluated(evaluator, split, predictions, [each.image_id for each in split.records])
        ours, _ = coco_metrics(split, predictions)
        assert 0.1 < ours["AP"] < 0.9
        for key, other in {"AP": "AP", "AP50": "AP50", "AP75": "AP75", "AP_medium": "APm"}.items():
            assert 100 * ours[key] == pytest.approx(theirs[other], abs=1e-9), key
        for label in split.classes:
            assert 100 * ours["per_class"][label]["AP"] == pytest.approx(theirs[f"AP-{label}"], abs=1e-9)

    @pytest.mark.parametrize(("year", "ours"), [(2007, "AP50_11point"), (2012, "AP50_area")])
    def test_voc(self, tmp_path: Path, year: int, ours: str) -> None:
        split, predictions = split_and_predictions()
        for folder in ("Annotations", "ImageSets/Main"):
            (tmp_path / folder).mkdir(parents=True)
        names = [str(each.image_id) for each in split.records]
        (tmp_path / "ImageSets/Main/test.txt").write_text("\n".join(names))
        for name, each in zip(names, split.records, strict=True):
            rows = zip(each.boxes.int().tolist(), each.labels.tolist(), each.difficult.int().tolist(), strict=True)
            objects = "".join(
                f"<object><name>{split.classes[label]}</name><pose/><truncated>0</truncated>"
                f"<difficult>{hard}</difficult><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
                f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
                for (x0, y0, x1, y1), label, hard in rows
            )
            (tmp_path / f"Annotations/{name}.xml").write_text(f"<annotation>{objects}</annotation>")
        catalog = f"voc {tmp_path}"
        MetadataCatalog.get(catalog).set(dirname=str(tmp_path), split="test", year=year, thing_classes=split.classes)
        theirs = evaluated(PascalVOCDetectionEvaluator(catalog), split, predictions, names)
        found, _ = voc_metrics(split, predictions)
        assert 0.1 < found[ours] < 1
        assert 100 * found[ours] == pytest.approx(theirs["AP50"], abs=1e-9)


class TestImages:
    """Resizing and mirroring against Detectron2's own mapper, which is told what we drew."""

    INPUT = {"short_edges": [80, 100], "test_short_edge": 90, "max_size": 140}

    def sample(self) -> tuple[Tensor, dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(1)
        image = torch.randint(0, 256, (3, 60, 100), generator=generator, dtype=torch.uint8)
        boxes = torch.tensor([[10.0, 5, 40, 30], [-5, 20, 20, 70], [99.9999999, 10, 130, 20]])
        target = {"boxes": boxes, "labels": torch.tensor([2, 0, 1]), "image_id": torch.tensor(7)}
        return image, target | {"iscrowd": torch.tensor([False, True, False])}

    def test_a_sample_is_what_detectron2s_mapper_makes_of_it(self, tmp_path: Path) -> None:
        detector = detector_of("faster_rcnn", input=self.INPUT)
        image, target = self.sample()
        file = tmp_path / "image.png"
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
        seen = set()
        for seed in range(12):
            sized, moved = detector.augment(image, target, torch.Generator().manual_seed(seed))
            mirrored = not torch.equal(
                sized, detector_of("faster_rcnn", input=self.INPUT | {"flip": False}).augment(
                    image, target, torch.Generator().manual_seed(seed))[0]
            )  # fmt: skip
            edge = 80 if sized.shape[1] == 80 else 100
            seen.add((edge, mirrored))
            augmentations = [T.ResizeShortestEdge([edge], 140, "choice"), T.RandomFlip(prob=float(mirrored))]
            mapper = DatasetMapper(is_train=True, augmentations=augmentations, image_format="RGB")
            annotations = [
                {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label}
                for box, label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True)
            ]
            native = mapper({"file_name": str(file), "height": 60, "width": 100, "annotations": annotations})
            assert torch.equal(sized, native["image"])
            torch.testing.assert_close(moved["boxes"], native["instances"].gt_boxes.tensor)
            assert moved["labels"].tolist() == native["instances"].gt_classes.tolist() == [2, 0]
            assert moved["iscrowd"].tolist() == [False, True]
        assert {mirrored for _, mirrored in seen} == {False, True}
        assert len({edge for edge, _ in seen}) == 2

    def test_without_a_recipe_images_stay_as_they_are(self) -> None:
        image, target = self.sample()
        found = detector_of("faster_rcnn").augment(image, target, torch.Generator())
        assert found[0] is image
        assert found[1] is target

    def test_detections_are_in_pixels_of_the_image_as_it_came(self) -> None:
        detector = detector_of("faster_rcnn", input=self.INPUT).eval()
        image, _ = self.sample()
        height, width = T.ResizeShortestEdge.get_output_shape(60, 100, 90, 140)
        pixels = T.ResizeTransform(60, 100, height, width).apply_image(image.permute(1, 2, 0).numpy()[..., ::-1].copy())
        native = {"image": torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32)), "height": 60, "width": 100}
        with torch.no_grad():
            (found,), (expected,) = detector.predict([image / 255]), detector.model([native])
        assert len(found["boxes"]) > 0
        assert torch.equal(found["boxes"], expected["instances"].pred_boxes.tensor)
        assert torch.equal(found["scores"], expected["instances"].scores)


class TestWeights:
    """Weights that training begins with, from files that are made here."""

    def file(self, folder: Path, content: Any, name: str = "resnet18.pth") -> dict[str, Any]:
        torch.save(content, folder / name)
        return {"file": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}

    def detector(self, weights: Any, **changes: Any) -> Detector:
        return detector_of("retinanet", **{"width": 64, "weights": weights, **changes})

    def test_torchvisions_classifier_has_the_same_features_here(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: Any
    ) -> None:
        monkeypatch.setenv("DETDISTILL_RAW", str(tmp_path))
        torch.manual_seed(5)
        classifier = resnet18()
        classifier(torch.rand(4, 3, 64, 64))  # so that the running statistics are not the initial ones
        detector = self.detector(self.file(tmp_path, classifier.state_dict()), norm="FrozenBN", freeze=2)
        detector.initialize("student.yaml")
        mean, std = torch.tensor([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]])[..., None, None] / 255
        classifier.eval()
        with torch.no_grad():
            x = classifier.maxpool(classifier.relu(classifier.bn1(classifier.conv1((batch[0][0] - mean)[None] / std))))
            x = classifier.layer4(classifier.layer3(classifier.layer2(classifier.layer1(x))))
            taps = detector.eval().observe(batch[0][:1], frozenset({"backbone"}))
        torch.testing.assert_close(taps.backbone["32"], x, rtol=1e-4, atol=1e-5)

    def test_a_bottleneck_body_takes_every_tensor(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DETDISTILL_RAW", str(tmp_path))
        weights = self.file(tmp_path, resnet50().state_dict())
        self.detector(weights, depth=50).initialize("student.yaml")
        with pytest.raises(UserError, match=r"weights of another backbone: no fitting tensor for backbone\.bottom_up"):
            self.detector(weights, depth=18).initialize("student.yaml")

    def test_imagenet_is_torchvisions_file_of_the_depth(self) -> None:
        named = _named(self.detector("imagenet").preparation, "student.yaml")  # type: ignore[attr-defined]
        assert (named.file, named.sha256) == ("resnet18-f37072fd.pth", "f37072fd")

    def test_files_that_are_missing_or_altered_are_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DETDISTILL_RAW", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError, match=r"detector\.weights\.file: none\.pth: not found in .*data/raw"):
            self.detector({"file": "none.pth", "sha256": "0" * 8}).initialize("student.yaml")
        self.file(tmp_path, {})
        with pytest.raises(UserError, match=r"resnet18\.pth: SHA-256 .*, expected 00000000; remove the file"):
            self.detector({"file": "resnet18.pth", "sha256": "0" * 8}).initialize("student.yaml")

    def test_code_in_a_file_is_not_run_without_leave(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DETDISTILL_RAW", str(tmp_path))
        weights = self.file(tmp_path, {"layer1": Trap(str(tmp_path / "ran"))})
        with pytest.raises(UserError, match=r"would run code; say allow_pickle: true to allow it"):
            self.detector(weights).initialize("student.yaml")
        assert not (tmp_path / "ran").exists()

    def test_a_pickled_file_of_the_zoo_is_read_with_leave(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DETDISTILL_RAW", str(tmp_path))
        source = self.detector(None, width=8, seed=4)
        state = {name: tensor.numpy() for name, tensor in source.model.state_dict().items()}
        file = tmp_path / "model_final.pkl"
        for content, other in ((state, False), ({"nothing": np.zeros(1)}, True)):
            file.write_bytes(pickle.dumps({"model": content, "__author__": "test"}))
            weights = {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "allow_pickle": True}
            detector = self.detector(weights, width=8)
            if other:
                with pytest.raises(UserError, match="weights of another backbone"):
                    detector.initialize("student.yaml")
            else:
                detector.initialize("student.yaml")
                found = detector.model.state_dict()
                assert all(torch.equal(found[name], tensor) for name, tensor in source.model.state_dict().items())

    def test_random_weights_are_not_frozen(self) -> None:
        with pytest.raises(UserError, match="without `weights`, norm must be BN or SyncBN and freeze 0"):
            detector_of("faster_rcnn", freeze=2)


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


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
