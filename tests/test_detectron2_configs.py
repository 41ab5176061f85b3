"""Configs of Detectron2's users, and checkpoints that plain Detectron2 reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import yaml
from safetensors.torch import load_file

from detdistill.core.errors import UserError
from detdistill.detectors import build
from detdistill.detectors.weights import load_weights, save_weights

pytest.importorskip("detectron2", reason="the engine detectron2 is not installed")

from detectron2.config import get_cfg
from detectron2.modeling import build_model

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
            (CASCADE, "CascadeROIHeads"),
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
