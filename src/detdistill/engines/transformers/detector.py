"""What the set-prediction detectors of Hugging Face transformers share: batches, targets, taps, matching, detections.

The model, its losses, its denoising and its assignment are transformers' own, run as they are; hooks read the tensors.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_convert
from transformers import PreTrainedConfig

from detdistill.core.errors import DivergedError
from detdistill.detectors.base import Detections, Detector, Queries, Taps, Target
from detdistill.detectors.recorder import Call, Recorder
from detdistill.detectors.resnet_fpn import KeepSize, Positive, ResNetFPN, ResNetFPNParams

TRUNK = frozenset({"backbone", "neck"})
DECODER = frozenset({"memory", "initial_queries", "queries", "query_logits", "query_boxes"})
Matches = Sequence[tuple[Tensor, Tensor]]


class SetPredictionParams(ResNetFPNParams):
    """Sizes that both families have. Defaults are the published ones."""

    family: str
    hidden: Positive = 256
    """D."""
    heads: Positive = 8
    feedforward: Positive = 1024
    encoder_layers: Positive
    decoder_layers: Positive = 6
    points: Positive = 4
    """Samples of a head and level in deformable attention."""
    queries: Positive = 300
    detections: Positive = 100

    @abstractmethod
    def config(self, num_classes: int) -> PreTrainedConfig:
        """The engine's configuration for the model of these sizes."""

    def shared(self, num_classes: int) -> dict[str, Any]:
        """What the engine's configurations call the sizes that both families have."""
        levels, channels = len(self.widths), self.neck_channels
        return {
            # The engine wants a backbone to begin with; the smallest, for Trunk takes its place.
            "backbone_config": {
                "model_type": "resnet",
                "embedding_size": channels,
                "hidden_sizes": [channels] * levels,
                "depths": [1] * levels,
                "layer_type": "basic",
                "out_indices": list(range(1, levels + 1)),
            },
            "num_labels": num_classes,
            "d_model": self.hidden,
            "num_feature_levels": levels,
            "num_queries": self.queries,
            "encoder_layers": self.encoder_layers,
            "encoder_ffn_dim": self.feedforward,
            "encoder_attention_heads": self.heads,
            "decoder_layers": self.decoder_layers,
            "decoder_ffn_dim": self.feedforward,
            "decoder_attention_heads": self.heads,
            "decoder_n_points": self.points,
            "auxiliary_loss": True,
            "disable_custom_kernels": True,
        }


class Trunk(ResNetFPN):
    """Our trunk where transformers' models keep their backbone; the decoder's levels are the pyramid's."""

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:  # type: ignore[override]
        """Images (N, 3, H, W) and their mask (N, H, W) to each level's features and mask."""
        return [(level, scale_mask(pixel_mask, level)) for level in super().forward(pixel_values).values()]


def scale_mask(mask: Tensor, level: Tensor) -> Tensor:
    """The mask (N, H, W) of images at the size of a level (N, C, h, w), as transformers scales it: (N, h, w), bool."""
    return F.interpolate(mask[None].float(), size=level.shape[-2:])[0].to(torch.bool)


class Given(nn.Module):
    """A matcher that has nothing to decide."""

    def __init__(self, matches: Matches):
        super().__init__()
        self.matches = list(matches)

    def forward(self, outputs: dict[str, Tensor], targets: list[dict[str, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        return self.matches


class SetPredictionDetector(Detector):
    """One of transformers' detectors with queries, a deformable decoder and K sigmoid logits.

    Args:
        model: transformers' `...ForObjectDetection`.
        transform: normalises and pads the images.
        detections: how many an image are predicted at most.
    """

    background = "sigmoid"
    trunk = "model.backbone."
    masks_padding: bool
    """Whether the family masks padding; then its boxes are relative to each image, else to the padded input."""

    def __init__(self, model: Any, num_classes: int, transform: KeepSize, detections: int):
        super().__init__(model, num_classes)
        self.transform = transform
        self.detections = detections
        self.num_queries: int = model.config.num_queries
        self._pyramid = isinstance(model.model.backbone, Trunk)
        self._trunk_path = "model.backbone.fpn" if self._pyramid else "model.backbone"
        self.taps = DECODER | (TRUNK if self._pyramid else {"backbone"})

    def training_step(
        self, images: Sequence[Tensor], targets: Sequence[Target], wanted: frozenset[str] = frozenset()
    ) -> tuple[dict[str, Tensor], Taps]:
        batch = self._batch(images)
        labels = self._labels(targets, self._extents(batch.tensors.shape[-2:], batch.image_sizes))
        with self._recorder(wanted) as recorder:
            outputs = self._diverged_or(lambda: self.model(batch.tensors, pixel_mask=pixel_mask(batch), labels=labels))
        return self._weighted(outputs.loss_dict), self._taps(recorder.calls, wanted, batch)

    def observe(
        self, images: Sequence[Tensor], wanted: frozenset[str], roi_boxes: Sequence[Tensor] | None = None
    ) -> Taps:
        batch = self._batch(images)
        part = self.model.model if wanted & DECODER else self.model.model.backbone
        with self._recorder(wanted) as recorder:
            part(batch.tensors, pixel_mask=pixel_mask(batch))
        return self._taps(recorder.calls, wanted, batch)

    def predict(self, images: Sequence[Tensor]) -> list[Detections]:
        batch = self._batch(images)
        outputs = self.model(batch.tensors, pixel_mask=pixel_mask(batch))
        extents = self._extents(batch.tensors.shape[-2:], batch.image_sizes).to(outputs.logits.device)
        boxes = box_convert(outputs.pred_boxes, "cxcywh", "xyxy") * extents
        scores = outputs.logits.sigmoid().flatten(1)
        scores, index = scores.topk(min(self.detections, scores.shape[1]), dim=1)
        labels, queries = index % self.num_classes, index // self.num_classes
        return [
            {"boxes": boxes[i, queries[i]], "scores": scores[i], "labels": labels[i]} for i in range(len(batch.tensors))
        ]

    def pixel_boxes(self, taps: Taps, layer: str) -> Tensor:
        boxes = taps.query_boxes[layer]
        return box_convert(boxes, "cxcywh", "xyxy") * self._extents(taps.image_size, taps.image_sizes).to(boxes)

    def match(self, taps: Taps, targets: Sequence[Target], layer: str) -> list[tuple[Tensor, Tensor]]:
        labels = self._labels(targets, self._extents(taps.image_size, taps.image_sizes))
        return self._matcher()({"logits": taps.query_logits[layer], "pred_boxes": taps.query_boxes[layer]}, labels)

    def set_loss(self, taps: Taps, targets: Sequence[Target], matches: Matches) -> dict[str, Tensor]:
        labels = self._labels(targets, self._extents(taps.image_size, taps.image_sizes))
        *earlier, last = (
            {"logits": taps.query_logits[layer], "pred_boxes": taps.query_boxes[layer]} for layer in taps.query_logits
        )
        criterion = self._criterion(Given(matches)).to(last["logits"].device)
        return self._weighted(criterion({**last, "auxiliary_outputs": earlier}, labels))

    def _batch(self, images: Sequence[Tensor]) -> ImageList:
        """The images normalised, in one padded tensor, with their own sizes."""
        return self.transform(list(images))[0]

    @abstractmethod
    def _criterion(self, matcher: nn.Module) -> nn.Module:
        """The engine's own set losses, assigned by `matcher`."""

    @abstractmethod
    def _matcher(self) -> nn.Module:
        """The engine's own Hungarian matcher."""

    @abstractmethod
    def _weighted(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms that the engine trains on, each with the weight that it has in their sum."""

    @abstractmethod
    def _initial_queries(self, call: Call) -> Queries:
        """What the recorded decoder began with, denoising queries among them."""

    @abstractmethod
    def _layers(self, output: Any, queries: Queries) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Queries (N, Q, D), logits (N, Q, K) and boxes (N, Q, 4) of each layer, from what the decoder returned."""

    def _taps(self, calls: dict[str, list[Call]], wanted: frozenset[str], batch: ImageList) -> Taps:
        if not wanted:
            return Taps()
        height, width = batch.tensors.shape[-2:]
        taps = Taps(image_size=(height, width), image_sizes=batch.image_sizes)
        for call in calls[self._trunk_path]:
            if self._pyramid:
                taps.backbone, taps.neck = call.args[0], call.output
            else:
                taps.backbone = {str(height // level.shape[-2]): level for level, _ in call.output}
        for call in calls["model.decoder"]:
            sizes = call.kwargs["spatial_shapes_list"]
            levels = call.kwargs["encoder_hidden_states"].split([h * w for h, w in sizes], dim=1)
            taps.memory = {
                str(height // h): level.transpose(1, 2).unflatten(2, (h, w))
                for (h, w), level in zip(sizes, levels, strict=True)
            }
            queries = self._initial_queries(call)
            own = slice(-self.num_queries, None)  # denoising queries come first
            position = queries.position if queries.position is None else queries.position[:, own]
            taps.initial_queries = Queries(queries.content[:, own], queries.boxes[:, own], position)
            self._read_layers(taps, call.output, queries, own)
        return taps

    def _read_layers(self, taps: Taps, output: Any, queries: Queries, own: slice = slice(None)) -> None:
        for index, (hidden, logits, boxes) in enumerate(self._layers(output, queries)):
            layer = str(index)
            taps.queries[layer], taps.query_logits[layer] = hidden[:, own], logits[:, own]
            taps.query_boxes[layer] = boxes[:, own]

    def _recorder(self, wanted: frozenset[str]) -> Recorder:
        paths = [path for path, taps in ((self._trunk_path, TRUNK), ("model.decoder", DECODER)) if wanted & taps]
        return Recorder(self.model, paths)

    def _extents(self, padded: Sequence[int], sizes: Sequence[tuple[int, int]]) -> Tensor:
        """(N, 1, 4): the width, height, width, height in pixels that the boxes of each image are relative to."""
        own = sizes if self.masks_padding else [tuple(padded)] * len(sizes)
        return torch.tensor([[[w, h, w, h]] for h, w in own], dtype=torch.float32)

    def _labels(self, targets: Sequence[Target], extents: Tensor) -> list[dict[str, Tensor]]:
        """The targets in the engine's words."""
        return [
            {
                "class_labels": target["labels"],
                "boxes": box_convert(target["boxes"], "xyxy", "cxcywh") / extent.to(target["boxes"]),
            }
            for target, extent in zip(targets, extents, strict=True)
        ]

    def _diverged_or(self, forward: Any) -> Any:
        """What `forward` returns; when it stumbles over boxes that are not finite, it says that training diverged."""
        try:
            return forward()
        except ValueError as error:
            if all(torch.isfinite(parameter).all() for parameter in self.parameters()):
                raise
            raise DivergedError(
                "training diverged: the weights are not finite; a lower rate or clip_norm helps"
            ) from error


def memory_inputs(taps: Taps) -> dict[str, Any]:
    """What a deformable decoder needs of the memory, as the engine hands it over."""
    levels = list(taps.memory.values())
    shapes = [tuple(level.shape[-2:]) for level in levels]
    spatial_shapes = torch.tensor(shapes, device=levels[0].device)
    return {
        "encoder_hidden_states": torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1),
        "spatial_shapes": spatial_shapes,
        "spatial_shapes_list": shapes,
        "level_start_index": torch.cat([spatial_shapes.new_zeros(1), spatial_shapes.prod(1).cumsum(0)[:-1]]),
    }


def pixel_mask(batch: ImageList) -> Tensor:
    """(N, H, W): 1 where a pixel is of the image, 0 where it is padding."""
    return image_mask(batch.tensors.shape[-2:], batch.image_sizes, batch.tensors.device)


def image_mask(padded: Sequence[int], sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """(N, H, W) of images of those (height, width) in a padded batch: 1 in the image, 0 in the padding."""
    mask = torch.zeros(len(sizes), *padded, dtype=torch.long, device=device)
    for image, (height, width) in zip(mask, sizes, strict=True):
        image[:height, :width] = 1
    return mask
