"""What `detector` may say when the engine is Detectron2: one class a family, and one for the user's own config."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from detdistill.core.params import Slice
from detdistill.detectors.gfl import NMS_IOU
from detdistill.detectors.published import WeightsFile, mapping_as
from detdistill.detectors.resnet_fpn import Colour, Positive, Spread

Share = Annotated[float, Field(ge=0, le=1)]
Length = Annotated[float, Field(gt=0, le=10_000)]
Anchors = Annotated[list[Annotated[list[Length], Field(min_length=1)]], Field(min_length=5, max_length=5)]
"""Sizes in pixels, one list a level."""
Ratios = Annotated[list[Length], Field(min_length=1)]
"""Height over width."""
ANCHOR_SIZES = [32.0, 64.0, 128.0, 256.0, 512.0]


class Input(Slice):
    """Detectron2's own recipe for images: the shortest edge, and a mirror. Without it, images stay as they are."""

    short_edges: Annotated[list[Positive], Field(min_length=1)]
    """Pixels; training draws one of them an image. More than one is multi-scale training."""
    test_short_edge: Positive
    """Pixels. Detections are told in pixels of the image as it came."""
    max_size: Positive = 1333
    """Pixels of the longest edge, at most."""
    flip: bool = True
    """Mirror left and right in training, every other image on average."""


class Weights(WeightsFile):
    """A file of weights, which may also be one of Detectron2's zoo."""

    allow_pickle: bool = False
    """Whether a file that can run code when it is read may be read: Detectron2's zoo consists of such files."""


class Preparation(Slice):
    """What all have: how images are prepared, and what training begins with."""

    input: Input | None = None
    weights: Annotated[Literal["imagenet"] | Weights | None, mapping_as(Weights)] = None
    """`imagenet`: torchvision's classifier of this depth (its first published weights)."""


class ConfigParams(Preparation):
    """A config of Detectron2. Its model is taken; data, schedule, augmentation and weights are said here."""

    config: str
    """A file: yaml of the CfgNode system or Python of the LazyConfig system."""
    allow_code: bool = False
    """Whether the config may run code: every Python file, and a yaml with `!!python` tags (Base-RetinaNet.yaml)."""


class ResNetParams(Preparation):
    """ResNet and pyramid. Defaults: Detectron2's, with normalisation and strides of torchvision's weights."""

    depth: Literal[18, 34, 50, 101] = 50
    width: Positive = 64
    """Channels of the stem; every width of the body is a multiple of it."""
    neck_channels: Positive = 256
    norm: Literal["FrozenBN", "BN", "SyncBN"] = "FrozenBN"
    freeze: Annotated[int, Field(ge=0, le=5)] = 2
    """Stages that training leaves as they are: 1 the stem, 2 with res2, ..."""
    stride_in_1x1: bool = False
    """Which convolution of a bottleneck has the stride: true for MSRA's weights, false for torchvision's."""
    pixel_mean: Colour = [103.53, 116.28, 123.675]
    """BGR in 0..255, of ImageNet."""
    pixel_std: Spread = [57.375, 57.12, 58.395]
    """BGR in 0..255, of ImageNet; [1, 1, 1] for MSRA's weights."""
    detections: Positive = 100
    score_threshold: Share = 0.05
    nms_threshold: Share = 0.5

    @model_validator(mode="after")
    def _frozen_stages_are_trained(self) -> Self:
        if self.weights is None and (self.freeze or self.norm == "FrozenBN"):
            raise ValueError(
                "without `weights`, norm must be BN or SyncBN and freeze 0, or random values stay for good"
            )
        return self


class FasterRCNNParams(ResNetParams):
    """Faster R-CNN on levels of stride 4 to 64. Numbers of proposals and samples hold for one image."""

    family: Literal["faster_rcnn"]
    anchors: Anchors = [[size] for size in ANCHOR_SIZES]
    aspect_ratios: Ratios = [0.5, 1.0, 2.0]
    rpn_batch: Positive = 256
    rpn_pre_nms: Positive = 2000
    """Of a level, in training."""
    rpn_pre_nms_test: Positive = 1000
    rpn_post_nms: Positive = 1000
    rpn_post_nms_test: Positive = 1000
    roi_batch: Positive = 512
    roi_positives: Annotated[float, Field(gt=0, lt=1)] = 0.25
    roi_size: Positive = 7
    roi_canonical: Positive = 224
    """Side in pixels of the box that belongs to stride 16; half of it belongs to stride 8, and so on (Lin et al.,
    arXiv 1612.03144, equation 1)."""
    roi_samples: Annotated[int, Field(ge=0, le=256)] = 0
    """Samples along each side of a RoIAlign bin; 0: as many as the bin has pixels."""
    hidden: Positive = 1024


class DenseParams(ResNetParams):
    """What RetinaNet, FCOS and GFL share."""

    finest: Literal[4, 8] = 8
    """Stride of the finest of five levels: 8 as published, or 4 on the pyramid of Faster R-CNN, for small objects."""

    convolutions: Annotated[int, Field(ge=2, le=100)] = 4
    """Of each tower of the head."""
    candidates: Positive = 1000
    """Scored anchors a level that enter NMS."""


class RetinaNetParams(DenseParams):
    """RetinaNet."""

    family: Literal["retinanet"]
    anchors: Anchors = [[size * 2 ** (octave / 3) for octave in range(3)] for size in ANCHOR_SIZES]
    aspect_ratios: Ratios = [0.5, 1.0, 2.0]
    group_norm: bool = False
    """Group normalisation in the towers."""


class GFLParams(DenseParams):
    """GFL. Defaults: those of the release, whose anchors are of 8 strides."""

    family: Literal["gfl"]
    nms_threshold: Share = NMS_IOU
    anchors: Annotated[
        list[Annotated[list[float], Field(min_length=1, max_length=1)]], Field(min_length=5, max_length=5)
    ] = [[2 * size] for size in ANCHOR_SIZES]
    """One anchor size in pixels a level. It decides what ATSS assigns, not how large a box can be."""
    aspect_ratios: Annotated[list[float], Field(min_length=1, max_length=1)] = [1.0]
    bins: Annotated[int, Field(gt=0, le=256)] = 16
    """The largest distance of an edge from its location, in strides (`reg_max` of the release)."""
    nearest: Positive = 9
    """Anchors a level that ATSS considers for an object (arXiv 1912.02424)."""
    group_norm: bool = True


class FCOSParams(DenseParams):
    """FCOS with centre sampling and a box tower that also tells centredness."""

    family: Literal["fcos"]
    score_threshold: Share = 0.2
    nms_threshold: Share = 0.6
    center_radius: Annotated[float, Field(gt=0)] = 1.5
    """In strides: how far from an object's centre a location still is positive."""
    group_norm: bool = True
