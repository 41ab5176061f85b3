"""torchvision's own backbones under its feature pyramid: detectors of real size, with published weights or without.

Names of tensors are those of torchvision's detectors, so that its checkpoints load here and ours there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

from detdistill.core.errors import near
from detdistill.core.params import Slice
from detdistill.detectors.published import WeightsFile, mapping_as, of_torchvision
from detdistill.detectors.resnet_fpn import Colour, Positive, Spread

STRIDES: tuple[int, ...] = (4, 8, 16, 32)


class Body(NamedTuple):
    """Where a classifier's stages end."""

    ends: tuple[str, ...]
    """The last child of the stem and of each stage."""
    channels: tuple[int, ...]
    """Of each stage, strides 4 to 32."""
    norm_eps: float | None = 1e-5
    """Of its batch normalisation; None where it has another normalisation."""


_RESNET = ("maxpool", "layer1", "layer2", "layer3", "layer4")
BODIES = {
    "resnet18": Body(_RESNET, (64, 128, 256, 512)),
    "resnet34": Body(_RESNET, (64, 128, 256, 512)),
    "resnet50": Body(_RESNET, (256, 512, 1024, 2048)),
    "resnet101": Body(_RESNET, (256, 512, 1024, 2048)),
    "mobilenet_v3_large": Body(("1", "3", "6", "12", "16"), (24, 40, 112, 960), 1e-3),
    "convnext_tiny": Body(("0", "1", "3", "5", "7"), (96, 192, 384, 768), None),
}


class BackboneParams(Slice):
    """A backbone of torchvision and its pyramid; normalisation and frozen stages are by default torchvision's choice.

    The pyramid of Faster R-CNN has strides 4 to 64, the last one for the RPN alone; dense detectors have 8 to 128.
    """

    dense: ClassVar[bool]
    published: ClassVar[WeightsEnum | None] = None
    """torchvision's own detector of this family on ResNet-50."""

    backbone: str
    neck_channels: Positive = 256
    weights: Annotated[Literal["imagenet", "coco"] | WeightsFile | None, mapping_as(WeightsFile)] = None
    """`imagenet`: torchvision's classifier; `coco`: its detector (ResNet-50; its first published weights each)."""
    norm: Literal["FrozenBN", "BN"] | None = None
    """null: FrozenBN with weights, BN without. ConvNeXt has a normalisation of its own."""
    freeze: Annotated[int, Field(ge=0, le=5)] | None = None
    """Stages that training leaves as they are: 1 the stem, 2 with the first stage; null: 2 with weights, 0 without."""
    mean: Colour = [0.485, 0.456, 0.406]
    std: Spread = [0.229, 0.224, 0.225]
    """RGB statistics that the weights were trained with: ImageNet's."""

    @field_validator("backbone")
    @classmethod
    def _known(cls, backbone: str) -> str:
        if backbone not in BODIES:
            raise ValueError(f"no such backbone{near(backbone, BODIES)}")
        return backbone

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.weights is None and (self.frozen or self.norm == "FrozenBN"):
            raise ValueError("without `weights`, norm must be BN and freeze 0, or random values stay for good")
        if self.frozen and self.norm == "BN" and self.body.norm_eps:
            raise ValueError("norm: BN of frozen stages would still follow the images; FrozenBN does not, or freeze 0")
        if self.weights == "coco" and (self.published is None or self.backbone != "resnet50"):
            raise ValueError("weights: torchvision's 'coco' is of faster_rcnn and retinanet on resnet50 alone")
        return self

    @property
    def body(self) -> Body:
        return BODIES[self.backbone]

    @property
    def file(self) -> WeightsFile | None:
        """Of the weights."""
        if self.weights == "coco" and self.published is not None:
            return of_torchvision(self.published)
        if self.weights == "imagenet":
            return of_torchvision(get_model_weights(self.backbone).IMAGENET1K_V1)
        return self.weights if isinstance(self.weights, WeightsFile) else None

    @property
    def frozen(self) -> int:
        """How many stages stay as they are."""
        return self.freeze if self.freeze is not None else 2 if self.weights is not None else 0

    @property
    def stages(self) -> slice:
        """Those that enter the pyramid."""
        return slice(int(self.dense), None)

    @property
    def strides(self) -> list[int]:
        """Of each pyramid level, in pixels, finest first."""
        return [8, 16, 32, 64, 128] if self.dense else [4, 8, 16, 32, 64]

    @property
    def divisor(self) -> int:
        """What padding makes the sizes of images a multiple of; torchvision's."""
        return 32

    def trunk(self) -> BackboneWithFPN:
        """The untrained backbone and its pyramid; levels are named by their stride."""
        body = self.body
        classifier: Any = get_model(self.backbone, weights=None, **self._normalisation())
        features = classifier if self.backbone.startswith("resnet") else classifier.features
        for child in _until(features, body.ends, self.frozen):
            child.requires_grad_(False)
        ends, strides = body.ends[1:][self.stages], map(str, STRIDES[self.stages])
        extra = _P6P7(self.neck_channels) if self.dense else _MaxPool()
        channels = list(body.channels[self.stages])
        return BackboneWithFPN(features, dict(zip(ends, strides, strict=True)), channels, self.neck_channels, extra)

    def _normalisation(self) -> dict[str, Callable[..., nn.Module]]:
        """The keyword of torchvision's constructor, where its default does not do."""
        if self.body.norm_eps is None or not self._freezes_norm:
            return {}
        # COCO's weights were trained before torchvision's frozen normalisation had an epsilon.
        eps = 0.0 if self.weights == "coco" else self.body.norm_eps
        return {"norm_layer": partial(FrozenBatchNorm2d, eps=eps)}

    @property
    def _freezes_norm(self) -> bool:
        return self.norm == "FrozenBN" or (self.norm is None and self.weights is not None)


def _until(features: nn.Module, ends: Sequence[str], stages: int) -> list[nn.Module]:
    """The children of the first stages, the stem being the first."""
    children = dict(features.named_children())
    return list(children.values())[: list(children).index(ends[stages - 1]) + 1] if stages else []


class _MaxPool(LastLevelMaxPool):
    """torchvision's, its level named by its stride."""

    def forward(self, x: list[Tensor], y: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        coarser = str(2 * int(names[-1]))
        return super().forward(x, y, list(names))[0], [*names, coarser]


class _P6P7(LastLevelP6P7):
    """torchvision's, from the pyramid's own last level; its levels named by their stride."""

    def __init__(self, channels: int):
        super().__init__(channels, channels)

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        last = int(names[-1])
        return super().forward(p, c, list(names))[0], [*names, str(2 * last), str(4 * last)]
