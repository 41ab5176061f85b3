"""A small residual body with a feature pyramid that trains from nothing: the trunk of every embedded detector."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork

from detdistill.core.params import Slice

Positive = Annotated[int, Field(gt=0, le=16_384)]
"""A size of a detector; a slip of the keyboard must not ask for all the memory there is."""

Colour = Annotated[list[float], Field(min_length=3, max_length=3)]
"""One number a channel."""
Spread = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]


class ResNetFPNParams(Slice):
    """Sizes of backbone and neck, and the images' normalisation. Two detectors that agree here can share weights."""

    widths: Annotated[list[Positive], Field(min_length=1, max_length=6)]
    """Channels of each stage; stage i has stride 4 * 2**i."""
    blocks: Annotated[int, Field(gt=0, le=100)] = 1
    """Residual blocks a stage."""
    neck_channels: Positive
    mean: Colour = [0.485, 0.456, 0.406]
    std: Spread = [0.229, 0.224, 0.225]
    """RGB statistics of ImageNet, torchvision's default."""

    @property
    def strides(self) -> list[int]:
        """Of each stage and pyramid level, in pixels, finest first."""
        return [4 * 2**stage for stage in range(len(self.widths))]


class KeepSize(GeneralizedRCNNTransform):
    """torchvision's normalisation and padding without its resizing: images come sized, alike for both detectors."""

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target


class ResNetFPN(nn.Module):
    """A residual body of torchvision's basic blocks and its feature pyramid; levels are named by their stride."""

    def __init__(self, sizes: ResNetFPNParams):
        super().__init__()
        width = sizes.widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        stages, channels = OrderedDict(), width
        for width, stride in zip(sizes.widths, sizes.strides, strict=True):
            skip = nn.Sequential(nn.Conv2d(channels, width, 1, 2, bias=False), nn.BatchNorm2d(width))
            rest = [BasicBlock(width, width) for _ in range(sizes.blocks - 1)]
            stages[str(stride)] = nn.Sequential(BasicBlock(channels, width, 2, skip), *rest)
            channels = width
        self.body = nn.ModuleDict(stages)
        self.fpn = FeaturePyramidNetwork(sizes.widths, sizes.neck_channels)
        self.out_channels = sizes.neck_channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Images (N, 3, H, W) to stride -> (N, C, H / stride, W / stride)."""
        feature, stages = self.stem(images), OrderedDict()
        for stride, stage in self.body.items():
            feature = stages[stride] = stage(feature)
        return self.fpn(stages)
