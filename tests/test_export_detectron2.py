"""Stock Detectron2 finds, to the last bit, what we find: by `config.yaml` and DefaultPredictor, or by a LazyConfig."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import exported
import numpy as np
import pytest
import torch

from detdistill.core import paths
from detdistill.export import export
from detdistill.export.folder import load

pytest.importorskip("detectron2", reason="the engine detectron2 is not installed")

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyConfig, get_cfg, instantiate
from detectron2.engine import DefaultPredictor

BOTTLENECKS = {"depth": 50, "width": 8, "norm": "BN", "freeze": 0}
R18 = {"width": 64, "neck_channels": 16}
RESIZED = {"input": {"short_edges": [64], "test_short_edge": 96, "max_size": 128}}
YAML = [
    ("faster_rcnn", R18),
    ("faster_rcnn", {**R18, **RESIZED, "score_threshold": 0.01, "detections": 30}),
    ("faster_rcnn", BOTTLENECKS),
    ("retinanet", {**BOTTLENECKS, "stride_in_1x1": True, "nms_threshold": 0.4}),
]
LAZY = [
    ("faster_rcnn", {}),
    ("faster_rcnn", {**R18, "roi_canonical": 56}),
    ("retinanet", {}),
    ("retinanet", {**BOTTLENECKS, "finest": 4}),
    ("retinanet", {**BOTTLENECKS, "group_norm": True}),
    ("fcos", {"score_threshold": 0.05}),
]


def bgr(index: int) -> np.ndarray:
    """A validation image as `cv2.imread` gives it, (H, W, 3) uint8."""
    return exported.split().image(index).flip(0).permute(1, 2, 0).contiguous().numpy()


@pytest.mark.parametrize(("family", "changes"), YAML)
def test_its_own_predictor_by_a_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, changes: dict[str, Any]
) -> None:
    detector = exported.project(tmp_path, monkeypatch, "detectron2", family, **changes)
    export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    config = get_cfg()
    config.merge_from_file("config.yaml")
    predictor = DefaultPredictor(config)
    monkeypatch.chdir(tmp_path)
    for index, expected in enumerate(exported.ours(detector)):
        same(predictor(bgr(index))["instances"], expected)


@pytest.mark.parametrize(("family", "changes"), LAZY)
def test_a_lazy_config_where_yaml_has_no_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, changes: dict[str, Any]
) -> None:
    detector = exported.project(tmp_path, monkeypatch, "detectron2", family, **changes)
    export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, tmp_path / "out")
    model = instantiate(LazyConfig.load(str(tmp_path / "out" / "config.py")).model).eval()
    DetectionCheckpointer(model).load(str(tmp_path / "out" / "model.pth"))
    for index, expected in enumerate(exported.ours(detector)):
        image = torch.as_tensor(bgr(index).astype("float32").transpose(2, 0, 1))
        with torch.no_grad():
            [found] = model([{"image": image, "height": image.shape[1], "width": image.shape[2]}])
        same(found["instances"], expected)
    again, _ = load(tmp_path / "out")
    for one, other in zip(exported.ours(again), exported.ours(detector), strict=True):
        assert torch.equal(one["boxes"], other["boxes"])


def test_a_config_of_ones_own_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = get_cfg()
    own.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    own.MODEL.RESNETS.DEPTH, own.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    own.MODEL.RESNETS.OUT_FEATURES = own.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    own.MODEL.ANCHOR_GENERATOR.SIZES = [[8], [16], [32], [64], [96]]
    own.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    own.MODEL.ROI_HEADS.NAME, own.MODEL.ROI_HEADS.IN_FEATURES = "StandardROIHeads", ["p2", "p3", "p4", "p5"]
    own.MODEL.ROI_BOX_HEAD.NAME, own.MODEL.ROI_BOX_HEAD.NUM_FC = "FastRCNNConvFCHead", 2
    own.MODEL.ROI_BOX_HEAD.FC_DIM = 16
    plain, tagged = "DETECTIONS_PER_IMAGE: 100", "DETECTIONS_PER_IMAGE: !!python/object/apply:int ['100']"
    assert plain in own.dump()
    (tmp_path / "own.yaml").write_text(own.dump().replace(plain, tagged))
    words = {"config": str(tmp_path / "own.yaml"), "allow_code": True}  # which the exported one needs no more
    detector = exported.project(tmp_path, monkeypatch, "detectron2", "faster_rcnn", **words)
    export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, tmp_path / "out")
    (tmp_path / "own.yaml").unlink()
    again, _ = load(tmp_path / "out")
    for one, other in zip(exported.ours(again), exported.ours(detector), strict=True):
        assert torch.equal(one["boxes"], other["boxes"])


def same(instances, expected) -> None:
    assert len(instances)
    assert torch.equal(instances.pred_boxes.tensor, expected["boxes"])
    assert torch.equal(instances.scores, expected["scores"])
    assert torch.equal(instances.pred_classes, expected["labels"])
