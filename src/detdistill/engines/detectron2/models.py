"""From parameters to Detectron2's own modules: nothing here computes, it only puts them together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import LazyConfig, get_cfg, instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
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

from detdistill.core.errors import UserError
from detdistill.engines.detectron2.gfl import GFL
from detdistill.engines.detectron2.params import (
    ConfigParams,
    DenseParams,
    FasterRCNNParams,
    FCOSParams,
    GFLParams,
    ResNetParams,
    RetinaNetParams,
)

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
UNIT = (1.0, 1.0, 1.0, 1.0)


def resnet(sizes: ResNetParams, first: int) -> ResNet:
    """The body; its outputs are res{first} to res5. He et al., arXiv 1512.03385."""
    stages: list[Any] = []
    bottleneck = sizes.depth >= 50
    in_channels = sizes.width
    for stage, blocks in enumerate(BLOCKS[sizes.depth]):
        middle = sizes.width * 2**stage
        options: dict[str, Any] = {"block_class": BasicBlock}
        if bottleneck:
            options = {"bottleneck_channels": middle, "stride_in_1x1": sizes.stride_in_1x1}
            options["block_class"] = BottleneckBlock
        out_channels = 4 * middle if bottleneck else middle
        strides = [1 if stage == 0 else 2] + [1] * (blocks - 1)
        stages.append(
            ResNet.make_stage(
                num_blocks=blocks,
                stride_per_block=strides,
                in_channels=in_channels,
                out_channels=out_channels,
                norm=sizes.norm,
                **options,
            )
        )
        in_channels = out_channels
    stem = BasicStem(out_channels=sizes.width, norm=sizes.norm)
    names = [f"res{stage}" for stage in range(first, 6)]
    return ResNet(stem, stages, out_features=names, freeze_at=sizes.freeze)


def pyramid(sizes: DenseParams, coarse: str) -> FPN:
    """Five levels for a dense head: of stride 8 and above, the last two from `coarse` (p5, or res5 of the body), or
    those of Faster R-CNN."""
    body = resnet(sizes, 2 if sizes.finest == 4 else 3)
    channels = sizes.neck_channels
    if sizes.finest == 4:
        top: nn.Module = LastLevelMaxPool()
    else:
        top = LastLevelP6P7(
            channels if coarse == "p5" else body.output_shape()[coarse].channels, channels, in_feature=coarse
        )
    return FPN(body, list(body.output_shape()), channels, top_block=top)


def faster_rcnn(sizes: FasterRCNNParams, num_classes: int, where: str) -> GeneralizedRCNN:
    """Faster R-CNN with a pyramid: Lin et al., arXiv 1612.03144, and configs/common/models/mask_rcnn_fpn.py."""
    body, width = resnet(sizes, 2), sizes.neck_channels
    pyramid = FPN(body, list(body.output_shape()), width, top_block=LastLevelMaxPool())
    strides = {name: shape.stride for name, shape in pyramid.output_shape().items()}
    pooled = [name for name in strides if name != "p6"]
    generator = DefaultAnchorGenerator(
        sizes=sizes.anchors, aspect_ratios=sizes.aspect_ratios, strides=list(strides.values()), offset=0.0
    )
    rpn = RPN(
        in_features=list(strides),
        head=StandardRPNHead(in_channels=width, num_anchors=_same_number(generator, where)),
        anchor_generator=generator,
        anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=Box2BoxTransform(UNIT),
        batch_size_per_image=sizes.rpn_batch,
        positive_fraction=0.5,
        pre_nms_topk=(sizes.rpn_pre_nms, sizes.rpn_pre_nms_test),
        post_nms_topk=(sizes.rpn_post_nms, sizes.rpn_post_nms_test),
        nms_thresh=0.7,
    )
    roi_size = sizes.roi_size
    heads = StandardROIHeads(
        num_classes=num_classes,
        batch_size_per_image=sizes.roi_batch,
        positive_fraction=sizes.roi_positives,
        proposal_matcher=Matcher([0.5], [0, 1], allow_low_quality_matches=False),
        box_in_features=pooled,
        box_pooler=ROIPooler(
            roi_size,
            [1 / strides[name] for name in pooled],
            sizes.roi_samples,
            "ROIAlignV2",
            canonical_box_size=sizes.roi_canonical,
        ),
        box_head=FastRCNNConvFCHead(
            ShapeSpec(channels=width, height=roi_size, width=roi_size), conv_dims=[], fc_dims=[sizes.hidden] * 2
        ),
        box_predictor=FastRCNNOutputLayers(
            ShapeSpec(channels=sizes.hidden),
            box2box_transform=Box2BoxTransform((10.0, 10.0, 5.0, 5.0)),
            num_classes=num_classes,
            test_score_thresh=sizes.score_threshold,
            test_nms_thresh=sizes.nms_threshold,
            test_topk_per_image=sizes.detections,
        ),
    )
    return GeneralizedRCNN(
        backbone=pyramid, proposal_generator=rpn, roi_heads=heads, input_format="BGR", **_normalisation(sizes)
    )


def retinanet(sizes: RetinaNetParams, num_classes: int, where: str) -> RetinaNet:
    """RetinaNet: Lin et al., arXiv 1708.02002, and configs/common/models/retinanet.py."""
    return RetinaNet(**_retinanet(sizes, pyramid(sizes, "res5"), num_classes, where))


def gfl(sizes: GFLParams, num_classes: int, where: str) -> GFL:
    """GFL: Li et al., arXiv 2006.04388, and configs/gfl of open-mmlab/mmdetection."""
    settings = _retinanet(sizes, pyramid(sizes, "p5"), num_classes, where)
    return GFL(bins=sizes.bins, nearest=sizes.nearest, **settings)


def fcos(sizes: FCOSParams, num_classes: int, where: str) -> FCOS:
    """FCOS: Tian et al., arXiv 2006.09214, and configs/common/models/fcos.py."""
    body = pyramid(sizes, "p5")
    shapes = body.output_shape()
    return FCOS(
        backbone=body,
        head=FCOSHead(**_head(sizes, shapes, num_classes)),
        head_in_features=list(shapes),
        num_classes=num_classes,
        center_sampling_radius=sizes.center_radius,
        **_inference(sizes),
    )


def configured(sizes: ConfigParams, num_classes: int, where: str) -> nn.Module:
    """The model of a config file, with the data's number of classes. Raises UserError for one that cannot be used."""
    where, path = f"{where}: detector.config: {sizes.config}", Path(sizes.config)
    if not path.is_file():
        raise UserError(f"{where}: no such file")
    if path.suffix == ".py" and not sizes.allow_code:
        raise UserError(f"{where} is Python and would be run; say allow_code: true to allow it")
    try:
        return _lazy(path, num_classes) if path.suffix == ".py" else _from_yaml(path, sizes.allow_code, num_classes)
    except yaml.constructor.ConstructorError as error:
        raise UserError(f"{where} would run code; say allow_code: true to allow it: {error}") from None
    except (yaml.YAMLError, KeyError, ValueError, TypeError, AssertionError, AttributeError) as error:
        raise UserError(f"{where}: Detectron2 cannot build it: {type(error).__name__}: {error}") from error


def _lazy(path: Path, num_classes: int) -> nn.Module:
    model = LazyConfig.load(str(path)).model
    (model.roi_heads if "roi_heads" in model else model).num_classes = num_classes
    return instantiate(model)


def _from_yaml(path: Path, allow_code: bool, num_classes: int) -> nn.Module:
    config = get_cfg()
    config.merge_from_file(str(path), allow_unsafe=allow_code)
    config.MODEL.DEVICE = "cpu"
    config.MODEL.ROI_HEADS.NUM_CLASSES = config.MODEL.RETINANET.NUM_CLASSES = num_classes
    return build_model(config)


def group_norm(channels: int) -> nn.Module:
    """Detectron2's "GN", 32 groups, for any number of channels: fewer groups where 32 do not divide them into twos."""
    groups = math.gcd(32, channels)
    # A group of one channel has no deviation on a map of one pixel.
    return nn.GroupNorm(max(1, groups // 2) if groups == channels else groups, channels)


def _retinanet(sizes: RetinaNetParams | GFLParams, body: FPN, num_classes: int, where: str) -> dict[str, Any]:
    shapes = body.output_shape()
    generator = DefaultAnchorGenerator(
        sizes=sizes.anchors,
        aspect_ratios=sizes.aspect_ratios,
        strides=[shape.stride for shape in shapes.values()],
        offset=0.0,
    )
    return {
        "backbone": body,
        "head": RetinaNetHead(num_anchors=_same_number(generator, where), **_head(sizes, shapes, num_classes)),
        "head_in_features": list(shapes),
        "anchor_generator": generator,
        "box2box_transform": Box2BoxTransform(UNIT),
        "anchor_matcher": Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True),
        "num_classes": num_classes,
        **_inference(sizes),
    }


def _head(
    sizes: RetinaNetParams | GFLParams | FCOSParams, shapes: dict[str, ShapeSpec], num_classes: int
) -> dict[str, Any]:
    return {
        "input_shape": list(shapes.values()),
        "num_classes": num_classes,
        "conv_dims": [sizes.neck_channels] * sizes.convolutions,
        "norm": group_norm if sizes.group_norm else "",
    }


def _inference(sizes: DenseParams) -> dict[str, Any]:
    return {
        "test_score_thresh": sizes.score_threshold,
        "test_topk_candidates": sizes.candidates,
        "test_nms_thresh": sizes.nms_threshold,
        "max_detections_per_image": sizes.detections,
        **_normalisation(sizes),
    }


def _normalisation(sizes: ResNetParams) -> dict[str, list[float]]:
    return {"pixel_mean": sizes.pixel_mean, "pixel_std": sizes.pixel_std}


def _same_number(generator: DefaultAnchorGenerator, where: str) -> int:
    """Anchors a location, which every level must have alike."""
    numbers = set(generator.num_anchors)
    if len(numbers) > 1:
        raise UserError(f"{where}: detector.anchors: every level needs the same number of sizes, at least one")
    return numbers.pop()
