"""What every detector offers to training, distillation and evaluation, whichever engine owns it.

Shapes use N images, K classes, A anchors per location, R RoIs of the whole batch, C x H x W feature maps; for
transformers Q queries of D channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from detdistill.core.errors import UserError

Background = Literal["softmax", "sigmoid"]
Target = dict[str, Tensor]
Detections = dict[str, Tensor]

ABSENT: Any = None
"""What a tap holds that was not asked for."""


@dataclass(frozen=True)
class Queries:
    """What a transformer's decoder starts from, so that one detector can be run at another's queries."""

    content: Tensor
    """(N, Q, D)."""
    boxes: Tensor
    """(N, Q, 4): reference boxes, cxcywh in 0..1; of width and height 0 in the families whose references are points."""
    position: Tensor = ABSENT
    """(N, Q, D): learned positions, in the families whose references come from them."""


@dataclass
class Taps:
    """The intermediate tensors of one forward pass, in one schema for all engines.

    A pyramid level is named by its stride in pixels ("4", "8", ...), so that two detectors agree on it; a backbone
    stage likewise. Locations of a level are ordered h, w, a. Boxes are xyxy in pixels of the padded input; deltas are
    (dx, dy, dw, dh) as in Faster R-CNN: those of anchors with unit variances, those of RoIs with the engine's own.
    """

    image_size: tuple[int, int] = (0, 0)
    """(H, W) of the padded input."""
    image_sizes: list[tuple[int, int]] = field(default_factory=list)
    """Transformers: (H, W) of each image before padding."""
    backbone: dict[str, Tensor] = field(default_factory=dict)
    """stride -> (N, C, H, W), before the neck."""
    neck: dict[str, Tensor] = field(default_factory=dict)
    """stride -> (N, C, H, W)."""
    anchors: dict[str, Tensor] = field(default_factory=dict)
    """stride -> (HWA, 4)."""
    anchor_labels: Tensor = ABSENT
    """(N, sum HWA): the engine's own assignment. -1 background, -2 ignored, else the class (RPN: 0)."""
    anchor_targets: Tensor = ABSENT
    """(N, sum HWA, 4): the regression targets of the assigned anchors, meaningful where the label is not negative."""
    rpn_logits: dict[str, Tensor] = field(default_factory=dict)
    """stride -> (N, HWA) objectness."""
    rpn_deltas: dict[str, Tensor] = field(default_factory=dict)
    """stride -> (N, HWA, 4)."""
    head_logits: dict[str, Tensor] = field(default_factory=dict)
    """Dense detectors: stride -> (N, HWA, K)."""
    head_deltas: dict[str, Tensor] = field(default_factory=dict)
    """Dense detectors: stride -> (N, HWA, 4)."""
    head_edges: dict[str, Tensor] = field(default_factory=dict)
    """GFL: stride -> (N, HWA, 4, bins + 1) logits of how far left, top, right and bottom are, in strides 0 to bins."""
    head_cls_features: dict[str, Tensor] = field(default_factory=dict)
    """Dense detectors: stride -> (N, C, H, W), classification tower before the activation of its last but one conv."""
    head_box_features: dict[str, Tensor] = field(default_factory=dict)
    """The same of the box tower."""
    roi_boxes: list[Tensor] = field(default_factory=list)
    """One (R_i, 4) an image: the boxes that the RoI head looked at."""
    roi_features: Tensor = ABSENT
    """(R, D), after the box head's last hidden layer."""
    roi_maps: Tensor = ABSENT
    """(R, C, h, w), the pooled neck features that enter the box head."""
    roi_logits: Tensor = ABSENT
    """(R, K + 1), background last."""
    roi_deltas: Tensor = ABSENT
    """(R, K, 4)."""
    roi_labels: Tensor = ABSENT
    """(R,): the engine's own assignment, K for background."""
    roi_targets: Tensor = ABSENT
    """(R, 4): regression targets of the assigned boxes, meaningful where the label is below K."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """Transformers: stride -> (N, C, H, W), the encoder's output."""
    initial_queries: Queries = ABSENT
    """What the decoder began with: learned, or chosen from the memory. Denoising queries are left out of all taps."""
    queries: dict[str, Tensor] = field(default_factory=dict)
    """Decoder layer "0", "1", ... -> (N, Q, D), what that layer returns."""
    query_logits: dict[str, Tensor] = field(default_factory=dict)
    """Decoder layer -> (N, Q, K)."""
    query_boxes: dict[str, Tensor] = field(default_factory=dict)
    """Decoder layer -> (N, Q, 4), cxcywh in 0..1 of the image, or of the padded input in families that know no mask."""


TAPS = frozenset(tap.name for tap in fields(Taps)) - {"image_size", "image_sizes"}


class Detector(nn.Module, ABC):
    """An engine's model behind our small interface.

    Images are lists of float (3, H, W) in 0..1, RGB. A target has `boxes` (n, 4) xyxy pixels and `labels` (n,) in
    0..K-1. The engine's model is `self.model`; its state is the checkpoint, so that the engine alone can load it.
    """

    background: Background
    """`softmax`: K + 1 logits with background last. `sigmoid`: K independent logits, no background."""
    taps: frozenset[str]
    """The taps that this family has."""
    varies = False
    """Whether `augment` varies an image."""
    trunk: str
    """What the names of backbone and neck begin with in the model's state."""
    num_queries: int | None = None
    """Q of a transformer; None where there are no queries."""
    nearest: int = 0
    """Anchors a level that the assignment by ATSS considers for an object; 0 where another one assigns."""
    rpn_batch: int = 0
    """Anchors an image that the RPN samples for its losses; 0 where there is no RPN."""

    def __init__(self, model: nn.Module, num_classes: int):
        super().__init__()
        self.model: Any = model  # engines reach into their own parts
        self.num_classes = num_classes

    def trunk_parameters(self) -> list[nn.Parameter]:
        """The parameters of backbone and neck."""
        return [parameter for name, parameter in self.model.named_parameters() if name.startswith(self.trunk)]

    @abstractmethod
    def training_step(
        self, images: Sequence[Tensor], targets: Sequence[Target], wanted: frozenset[str] = frozenset()
    ) -> tuple[dict[str, Tensor], Taps]:
        """The engine's native training forward, untouched: its losses by name (scalars), and the wanted taps."""

    @abstractmethod
    def observe(
        self, images: Sequence[Tensor], wanted: frozenset[str], roi_boxes: Sequence[Tensor] | None = None
    ) -> Taps:
        """Only what the wanted taps need: no losses, no NMS.

        `roi_*` taps are evaluated at `roi_boxes`, one (R_i, 4) an image; they are the student's when this is a teacher.
        """

    def observe_rois(self, taps: Taps, wanted: frozenset[str], roi_boxes: Sequence[Tensor]) -> Taps:
        """Add to `taps`, which hold this detector's `neck`, the wanted `roi_*` at `roi_boxes`, one (R_i, 4) an image.

        What `observe` would find there, without the trunk's forward.
        """
        raise UserError(f"{type(self).__name__} cannot run its RoI head on a neck that was kept")

    @abstractmethod
    def predict(self, images: Sequence[Tensor]) -> list[Detections]:
        """Final detections an image: `boxes` (n, 4) xyxy pixels, `scores` (n,) descending, `labels` (n,) in 0..K-1."""

    def initialize(self, where: str) -> None:
        """Load the published weights that the parameters name, if they do; for a training that begins with the data.

        Args:
            where: the file of the parameters, for errors.

        Raises:
            UserError: weights that are missing, altered or of another backbone.
        """

    def augment(self, image: Tensor, target: Target, generator: torch.Generator) -> tuple[Tensor, Target]:
        """One training sample as the engine's own recipe varies it; without one, as it is.

        Args:
            image: uint8 (3, H, W) RGB, as the data set gives it.
            target: `boxes` (n, 4), and tensors of n rows or none beside it.
            generator: the only source of randomness.
        """
        return image, target

    def finish_head(self, cls_features: dict[str, Tensor], box_features: dict[str, Tensor]) -> Taps:
        """Run the end of a dense head on given tower features (see `head_cls_features`).

        Returns:
            `head_logits` and `head_deltas`, of a GFL `head_edges` too.
        """
        raise UserError(f"{type(self).__name__} has no dense head that could finish another detector's features")

    def decode(self, taps: Taps, queries: Queries) -> Taps:
        """Run a transformer's decoder at given queries, which may be another detector's.

        Args:
            taps: of this detector, with its `memory`; gradients flow into it.

        Returns:
            Taps with `queries`, `query_logits` and `query_boxes` of every decoder layer.
        """
        raise UserError(f"{type(self).__name__} has no decoder that could be run at given queries")

    def random_queries(self, taps: Taps, count: int) -> Queries:
        """`count` queries an image that no training chose, drawn from the default generator (KD-DETR's random ones)."""
        raise UserError(f"{type(self).__name__} has no decoder that could be run at random queries")

    def pixel_boxes(self, taps: Taps, layer: str) -> Tensor:
        """`query_boxes` of one decoder layer as (N, Q, 4) xyxy pixels of the image as the detector was given it."""
        raise UserError(f"{type(self).__name__} has no queries that predict boxes")

    def match(self, taps: Taps, targets: Sequence[Target], layer: str) -> list[tuple[Tensor, Tensor]]:
        """The engine's own Hungarian assignment of one decoder layer's predictions.

        Args:
            taps: of this detector, with `query_logits` and `query_boxes`.
            targets: boxes in pixels of the image as the detector was given it.
            layer: a key of the two taps.

        Returns:
            For each image the indices of queries and, in the same order, of targets, both (number of matches,).
        """
        raise UserError(f"{type(self).__name__} assigns no queries to objects")

    def set_loss(
        self, taps: Taps, targets: Sequence[Target], matches: Sequence[tuple[Tensor, Tensor]]
    ) -> dict[str, Tensor]:
        """The engine's own set losses, weighted as in its training, of all layers of `taps` under a given assignment.

        Args:
            taps: as `decode` returns them.
            matches: as `match` returns them; the same for every layer.
        """
        raise UserError(f"{type(self).__name__} has no set loss")

    @torch.no_grad()
    def shapes(
        self, wanted: frozenset[str], image_size: tuple[int, int] = (64, 64)
    ) -> dict[str, dict[str, torch.Size]]:
        """Shapes of the wanted taps, tap -> stride -> shape, by one look at a blank image with one RoI.

        A tap that is no mapping of strides has the one stride "".
        """
        training = self.training
        self.eval()
        blank = torch.zeros(3, *image_size, device=next(self.parameters()).device)
        box = blank.new_tensor([[0.0, 0.0, 32.0, 32.0]])
        taps = self.observe([blank], wanted, [box])
        self.train(training)
        found = {name: getattr(taps, name) for name in sorted(wanted)}
        return {
            name: {stride: each.shape for stride, each in (tap if isinstance(tap, dict) else {"": tap}).items()}
            for name, tap in found.items()
        }

    def channels(self, wanted: frozenset[str]) -> dict[str, dict[str, int]]:
        """Channel counts of the wanted feature taps, tap -> stride -> C."""
        return {
            # In 256 x 256 pixels there are more locations than any detector chooses queries from.
            tap: {stride: shape[1] for stride, shape in levels.items()}
            for tap, levels in self.shapes(wanted, (256, 256)).items()
        }
