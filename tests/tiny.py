"""Very small detectors, images and recipes for the tests of detectors and methods."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor

from detdistill.detectors import build as build_detector
from detdistill.detectors.base import Detector, Target
from detdistill.distill import build as build_distillation
from detdistill.distill.base import Distillation

K = 3
SIZE = 64
WIDE = (64, 96)
TRUNK = {"widths": [8, 16], "neck_channels": 8}
TRANSFORMER = {
    "hidden": 32,
    "heads": 4,
    "feedforward": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "points": 2,
    "queries": 6,
    "detections": 12,
}
BODY = {"depth": 18, "width": 8, "neck_channels": 8, "norm": "BN", "freeze": 0}
ANCHORS = {"anchors": [[12.0], [22.0], [32.0], [64.0], [96.0]], "aspect_ratios": [1.0]}
ROIS = {"rpn_batch": 16, "rpn_pre_nms": 40, "rpn_post_nms": 20, "roi_batch": 8, "roi_size": 3, "hidden": 16}
# engine, family (or a name for one on another trunk) -> sizes; tests of methods use the first engine of a family
SIZES: dict[tuple[str, str], dict[str, Any]] = {
    ("torchvision", "faster_rcnn"): {
        **TRUNK,
        "anchors": [[12.0], [22.0]],
        **ROIS,
    },
    ("torchvision", "retinanet"): {**TRUNK, "anchors": [[12.0], [22.0]], "candidates": 20},
    ("torchvision", "gfl"): {**TRUNK, "anchors": [[12.0], [22.0]], "candidates": 20},
    ("torchvision", "faster_rcnn on resnet18"): {
        "family": "faster_rcnn",
        "backbone": "resnet18",
        "neck_channels": 8,
        **ANCHORS,
        **ROIS,
    },
    ("torchvision", "retinanet on mobilenet_v3_large"): {
        "family": "retinanet",
        "backbone": "mobilenet_v3_large",
        "neck_channels": 8,
        **ANCHORS,
        "candidates": 20,
    },
    ("torchvision", "gfl on convnext_tiny"): {
        "family": "gfl",
        "backbone": "convnext_tiny",
        "neck_channels": 8,
        **ANCHORS,
        "norm_groups": None,
        "candidates": 20,
    },
    ("transformers", "rt_detr"): {**TRUNK, **TRANSFORMER, "denoising": 4},
    ("transformers", "deformable_detr"): {**TRUNK, **TRANSFORMER},
    ("detectron2", "faster_rcnn"): {
        **BODY,
        **ANCHORS,
        **ROIS,
        "rpn_pre_nms_test": 40,
        "rpn_post_nms_test": 20,
    },
    ("detectron2", "retinanet"): {**BODY, **ANCHORS, "convolutions": 2, "candidates": 20},
    ("detectron2", "fcos"): {**BODY, "convolutions": 2, "candidates": 20},
    ("detectron2", "gfl"): {**BODY, **ANCHORS, "convolutions": 2, "candidates": 20},
}
SHARED_TRUNK = [which for which, sizes in SIZES.items() if "widths" in sizes]
"""Those whose backbone and neck are `detectors.resnet_fpn`."""
TEACHER = {"widths": [16, 32], "neck_channels": 12}
WIDER = {
    "detectron2": {"width": 16, "neck_channels": 12},
    "backbone": {"neck_channels": 12},
}
"""engine, or what stands for a trunk -> the sizes of a teacher, where they have other names"""
# engine, family -> channels of the backbone's and the neck's levels, where they are not those of TRUNK
CHANNELS: dict[tuple[str, str], tuple[dict[str, int], dict[str, int]]] = {
    ("torchvision", "faster_rcnn on resnet18"): (
        {"4": 64, "8": 128, "16": 256, "32": 512},
        dict.fromkeys(("4", "8", "16", "32", "64"), 8),
    ),
    ("torchvision", "retinanet on mobilenet_v3_large"): (
        {"8": 40, "16": 112, "32": 960},
        dict.fromkeys(("8", "16", "32", "64", "128"), 8),
    ),
    ("torchvision", "gfl on convnext_tiny"): (
        {"8": 192, "16": 384, "32": 768},
        dict.fromkeys(("8", "16", "32", "64", "128"), 8),
    ),
    ("detectron2", "faster_rcnn"): (
        {"4": 8, "8": 16, "16": 32, "32": 64},
        dict.fromkeys(("4", "8", "16", "32", "64"), 8),
    ),
    ("detectron2", "retinanet"): ({"8": 16, "16": 32, "32": 64}, dict.fromkeys(("8", "16", "32", "64", "128"), 8)),
    ("detectron2", "fcos"): ({"8": 16, "16": 32, "32": 64}, dict.fromkeys(("8", "16", "32", "64", "128"), 8)),
    ("detectron2", "gfl"): ({"8": 16, "16": 32, "32": 64}, dict.fromkeys(("8", "16", "32", "64", "128"), 8)),
}

# method -> its parameters, all terms on
METHODS: dict[str, dict[str, Any]] = {
    "fitnets": {"weight": 1.0, "strides": [4, 8]},
    "attention_transfer": {"weight": 1e3},
    "fgfi": {"weight": 0.01},
    "pkd": {"weight": 6.0},
    "cwd": {"weight": 10.0},
    "mgd": {"weight": 2e-3},
    "fgd": {"foreground": 1e-3, "background": 5e-4, "attention": 5e-4, "context": 5e-6},
    "defeat": {"foreground": 3.0, "background": 12.0, "side": 16.0},
    "frs": {"features": 0.005, "classes": 0.02},
    "frs_rpn": {"features": 0.002, "classes": 0.1},
    "reviewkd": {"weight": 1.0},
    "crosskd": {"classes": 1.0, "boxes": 1.0},
    "cwd_head": {"weight": 10.0},
    "bckd": {"classes": 1.0, "boxes": 4.0},
    "ld": {"main": 0.25, "valuable": 0.25, "classes": 10.0},
    "chen": {"rpn_classes": 1.0, "rpn_boxes": 1.0, "roi_classes": 1.0, "roi_boxes": 1.0},
    "mimic": {"weight": 1.0},
    "dkd": {"target_class": 1.0, "other_classes": 0.25},
    "gid": {"features": 5e-4, "relations": 40.0, "classes": 0.1, "boxes": 1.0, "canonical": 64.0},
    "defeat_proposals": {"foreground": 2.0, "background": 2.0},
    "wkd": {"weight": 0.02},
}
NEEDS_RPN = {"frs_rpn", "chen", "mimic", "dkd", "gid", "defeat_proposals", "wkd"}
NEEDS_EDGES = {"ld"}
NEEDS_DENSE_HEAD = {"frs", "crosskd", "cwd_head", "bckd", *NEEDS_EDGES}
LACKS = {
    "faster_rcnn": NEEDS_DENSE_HEAD,
    "retinanet": NEEDS_RPN | NEEDS_EDGES,
    "gfl": NEEDS_RPN,
    "rt_detr": NEEDS_RPN | NEEDS_DENSE_HEAD | {"fgfi"},
}
"""family -> the methods that it has not the taps for"""
CASES = [(family, method) for family, lacking in LACKS.items() for method in METHODS if method not in lacking]


def require(engine: str) -> None:
    """Skip the test where the engine is not installed."""
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"the engine {engine} is not installed")


def engine_of(family: str) -> str:
    return next(engine for engine, own in SIZES if own == family)


def detector(family: str, seed: int = 0, num_classes: int = K, engine: str | None = None, **changes: Any) -> Detector:
    """An untrained detector of 64 x 64 images, with `changes` to its sizes."""
    engine = engine or engine_of(family)
    require(engine)
    torch.manual_seed(seed)
    sizes = {"family": family, **SIZES[engine, family], **changes}
    return build_detector(engine, sizes, num_classes, "student.yaml")


def teacher(family: str, **changes: Any) -> Detector:
    """A wider one, in eval mode."""
    engine = changes.get("engine") or engine_of(family)
    wider = WIDER.get("backbone" if "backbone" in SIZES[engine, family] else engine, TEACHER)
    return detector(family, seed=1, **{**wider, **changes}).eval()


def batch(images: int = 2, seed: int = 0, size: tuple[int, int] = (SIZE, SIZE)) -> tuple[list[Tensor], list[Target]]:
    """Random images with one object, two objects, none, ... in turn."""
    generator = torch.Generator().manual_seed(seed)
    boxes = [[[8.0, 12.0, 24.0, 30.0]], [[30.0, 8.0, 50.0, 26.0], [6.0, 36.0, 20.0, 58.0]], []]
    targets: list[Target] = [
        {"boxes": torch.tensor(boxes[i % 3]).reshape(-1, 4), "labels": torch.arange(len(boxes[i % 3])) + 1}
        for i in range(images)
    ]
    return [torch.rand(3, *size, generator=generator) for _ in range(images)], targets


def distillation(
    family: str,
    methods: dict[str, dict[str, Any]],
    student: Detector | None = None,
    other: Detector | None = None,
) -> Distillation:
    """The student of a recipe, as the command line builds it."""
    own, other = student or detector(family), other or teacher(family)
    return build_distillation(methods, {}, own, other, "params/tiny/tried.yaml")
