"""Detectron2: `config.yaml` where its yaml has words for the model, else `config.py`, a LazyConfig; and `model.pth`.

Its yaml knows no body of other than 64 channels at depth 18 and 34, no group normalisation in towers but of 32 groups,
one size that sends boxes to levels, and no FCOS. The LazyConfig is made of the very source that put the model together
for training. GFL, which Detectron2 has not, needs this package.
"""

from __future__ import annotations

import io
from inspect import getsource
from pathlib import Path
from pprint import pformat
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from safetensors.torch import load_file

from detdistill.core.errors import UserError
from detdistill.core.files import write_atomic
from detdistill.engines.detectron2 import models
from detdistill.engines.detectron2.params import (
    ConfigParams,
    FasterRCNNParams,
    FCOSParams,
    Preparation,
    ResNetParams,
    RetinaNetParams,
)
from detdistill.export.folder import PACKAGE
from detdistill.export.trained import Trained

STATE = "model.pth"
YAML, LAZY = "config.yaml", "config.py"
SCHEMAS: dict[str, type[ResNetParams]] = {
    "faster_rcnn": FasterRCNNParams,
    "retinanet": RetinaNetParams,
    "fcos": FCOSParams,
}


def write(trained: Trained, folder: Path) -> str:
    """Write weights and configuration; how to load them, in Markdown.

    Raises:
        UserError: a model of a config file in Python, which may be anything.
    """
    family = trained.params.get("family", "")
    if family == "gfl":
        return PACKAGE.format(why="Detectron2 has no GFL")
    own, classes = "config" in trained.params, len(trained.classes)
    sizes: Any = (ConfigParams if own else SCHEMAS[family]).model_validate(trained.params)
    edges = _test_size(sizes, trained.resize)
    config = _own_config(sizes, classes) if own else in_yaml(sizes, classes)
    if config:
        config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST = edges
        content, file = config.dump(), YAML
    else:
        content, file = lazy(sizes, classes, edges), LAZY
    write_atomic(folder / file, content.encode())
    state = io.BytesIO()
    torch.save({"model": load_file(trained.weights)}, state)
    write_atomic(folder / STATE, state.getvalue())
    return _use(file, trained.resize, edges)


def in_yaml(sizes: ResNetParams, classes: int) -> CfgNode | None:
    """The model in Detectron2's yaml, on top of its defaults; None where that has no words for it."""
    if sizes.depth < 50 and sizes.width != 64:
        return None
    if isinstance(sizes, FasterRCNNParams):
        spoken = sizes.roi_canonical == 224
    else:
        spoken = isinstance(sizes, RetinaNetParams) and sizes.finest == 8 and not sizes.group_norm
    if not spoken:
        return None
    config = get_cfg()
    two_stage = isinstance(sizes, FasterRCNNParams)
    config.MODEL.DEVICE = "cpu"
    config.MODEL.WEIGHTS = STATE
    config.MODEL.MASK_ON = False
    config.MODEL.PIXEL_MEAN, config.MODEL.PIXEL_STD = sizes.pixel_mean, sizes.pixel_std
    config.MODEL.BACKBONE.NAME = f"build_{'' if two_stage else 'retinanet_'}resnet_fpn_backbone"
    config.MODEL.BACKBONE.FREEZE_AT = sizes.freeze
    body = config.MODEL.RESNETS
    body.DEPTH, body.NORM, body.STRIDE_IN_1X1 = sizes.depth, sizes.norm, sizes.stride_in_1x1
    body.STEM_OUT_CHANNELS = body.WIDTH_PER_GROUP = sizes.width
    body.RES2_OUT_CHANNELS = sizes.width * (4 if sizes.depth >= 50 else 1)
    body.OUT_FEATURES = [f"res{stage}" for stage in range(2 if two_stage else 3, 6)]
    config.MODEL.FPN.IN_FEATURES, config.MODEL.FPN.OUT_CHANNELS = body.OUT_FEATURES, sizes.neck_channels
    config.INPUT.FORMAT = "BGR"
    config.TEST.DETECTIONS_PER_IMAGE = sizes.detections
    if isinstance(sizes, FasterRCNNParams):
        _two_stage(config, sizes, classes)
    else:
        assert isinstance(sizes, RetinaNetParams)
        _one_stage(config, sizes, classes)
    return config


def _two_stage(config: CfgNode, sizes: FasterRCNNParams, classes: int) -> None:
    config.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    generator, rpn, heads, box = (
        config.MODEL.ANCHOR_GENERATOR,
        config.MODEL.RPN,
        config.MODEL.ROI_HEADS,
        config.MODEL.ROI_BOX_HEAD,
    )
    generator.SIZES, generator.ASPECT_RATIOS = sizes.anchors, [sizes.aspect_ratios]
    rpn.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    rpn.PRE_NMS_TOPK_TEST, rpn.POST_NMS_TOPK_TEST = sizes.rpn_pre_nms_test, sizes.rpn_post_nms_test
    heads.NAME, heads.NUM_CLASSES, heads.IN_FEATURES = "StandardROIHeads", classes, ["p2", "p3", "p4", "p5"]
    heads.SCORE_THRESH_TEST, heads.NMS_THRESH_TEST = sizes.score_threshold, sizes.nms_threshold
    box.NAME, box.NUM_FC, box.FC_DIM = "FastRCNNConvFCHead", 2, sizes.hidden
    box.POOLER_RESOLUTION, box.POOLER_SAMPLING_RATIO = sizes.roi_size, sizes.roi_samples


def _one_stage(config: CfgNode, sizes: RetinaNetParams, classes: int) -> None:
    config.MODEL.META_ARCHITECTURE = "RetinaNet"
    generator, head = config.MODEL.ANCHOR_GENERATOR, config.MODEL.RETINANET
    generator.SIZES, generator.ASPECT_RATIOS = sizes.anchors, [sizes.aspect_ratios]
    head.NUM_CLASSES, head.NUM_CONVS = classes, sizes.convolutions
    head.SCORE_THRESH_TEST, head.NMS_THRESH_TEST = sizes.score_threshold, sizes.nms_threshold
    head.TOPK_CANDIDATES_TEST = sizes.candidates


def lazy(sizes: ResNetParams, classes: int, edges: tuple[int, int]) -> str:
    """The model as a LazyConfig in Python."""
    build = {FasterRCNNParams: models.faster_rcnn, RetinaNetParams: models.retinanet, FCOSParams: models.fcos}
    own: Any = build[type(sizes)]
    parts = [models.resnet, models.pyramid, models.group_norm, own]
    parts += [models._retinanet, models._head, models._inference, models._normalisation]
    return LAZY_SOURCE.format(
        blocks=models.BLOCKS,
        parts="\n\n".join(map(getsource, parts)),
        build=own.__name__,
        sizes=pformat(sizes.model_dump(exclude={"weights", "input"}), sort_dicts=False),
        classes=classes,
        edges=edges,
    )


def _test_size(preparation: Preparation, longest: int | None) -> tuple[int, int]:
    """Shortest and longest edge in pixels; 0 leaves images as they are. The study's own `resize` comes before."""
    if preparation.input:
        return preparation.input.test_short_edge, preparation.input.max_size
    return longest or 0, longest or 0


def _use(file: str, longest: int | None, edges: tuple[int, int]) -> str:
    """How to load and run the model, in Markdown."""
    shrink = SHRINK.format(longest=longest) if longest else ""
    size = SIZE.format(edges=edges) if edges[0] and edges != (longest, longest) else ""
    if file == LAZY:
        return USE_LAZY.format(**_steps(shrink + size))
    if size:  # DefaultPredictor resizes once, by the config
        return USE_YAML.format(**_steps(shrink), back=BACK if shrink else "")
    return USE_YAML.format(**_steps(""), back="") + (ENLARGED.format(longest=longest) if shrink else "")


def _steps(lines: str) -> dict[str, str]:
    """What is filled into a program whose image goes through these lines."""
    return {
        "imported": RESIZING if lines else "",
        "image": "image = sized" if lines else "image",
        "steps": lines,
        "seen": "sized" if lines else "image",
    }


def _own_config(own: ConfigParams, classes: int) -> CfgNode:
    if own.config.endswith(".py"):
        raise UserError(
            f"--format detectron2: the model is of {own.config}, Python of your own; take that file and the weights"
        )
    config = get_cfg()
    config.merge_from_file(own.config, allow_unsafe=own.allow_code)
    config.MODEL.DEVICE, config.MODEL.WEIGHTS = "cpu", STATE
    config.MODEL.ROI_HEADS.NUM_CLASSES = config.MODEL.RETINANET.NUM_CLASSES = classes
    return config


LAZY_SOURCE = '''\
"""This model as a LazyConfig of Detectron2: `instantiate(LazyConfig.load("config.py").model)`."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from detectron2.config import LazyCall
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone import FPN, BasicStem, ResNet
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch import GeneralizedRCNN, RetinaNet
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers, StandardROIHeads
from torch import nn

BLOCKS = {blocks}
UNIT = (1.0, 1.0, 1.0, 1.0)
SHORT_EDGE, MAX_SIZE = {edges}  # what images are resized to; 0 leaves them as they are


{parts}

def _same_number(generator, where):
    return generator.num_anchors[0]


def build():
    sizes = SimpleNamespace(
        **{sizes}
    )
    return {build}(sizes, {classes}, "")


model = LazyCall(build)()
'''
RESIZING = "from detectron2.data.transforms import ResizeShortestEdge\n"
SHRINK = """\
if max(image.shape[:2]) > {longest}:
    sized = ResizeShortestEdge({longest}, {longest}).get_transform(image).apply_image(image)
"""
SIZE = "sized = ResizeShortestEdge{edges}.get_transform(sized).apply_image(sized)\n"
BACK = "found.pred_boxes.scale(image.shape[1] / sized.shape[1], image.shape[0] / sized.shape[0])\n"
ENLARGED = """
By the config the predictor shrinks images to {longest} pixels. It enlarges smaller ones, which detdistill does not.
"""
USE_YAML = """\
In Detectron2, `config.yaml` and `model.pth`, in this folder:

```python
import cv2
from detectron2.config import get_cfg
{imported}from detectron2.engine import DefaultPredictor

config = get_cfg()
config.merge_from_file("config.yaml")
{image} = cv2.imread("image.png")  # in BGR
{steps}found = DefaultPredictor(config)({seen})["instances"]
{back}```
"""
USE_LAZY = """\
In Detectron2, `config.py` and `model.pth`; Detectron2's yaml has no words for this model, so that it is a LazyConfig:

```python
import cv2
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyConfig, instantiate
{imported}
model = instantiate(LazyConfig.load("config.py").model).eval()
DetectionCheckpointer(model).load("model.pth")
{image} = cv2.imread("image.png")  # in BGR
{steps}pixels = torch.as_tensor({seen}.astype("float32").transpose(2, 0, 1))
with torch.no_grad():
    [found] = model([{{"image": pixels, "height": image.shape[0], "width": image.shape[1]}}])
```
"""
