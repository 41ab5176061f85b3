"""Deformable DETR with box refinement, single stage: learned queries, deformable attention over all levels.

Zhu et al., ICLR 2021, arXiv 2010.04159.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import DeformableDetrConfig
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher, DeformableDetrImageLoss
from transformers.models.deformable_detr.modeling_deformable_detr import inverse_sigmoid

from detdistill.core.errors import UserError
from detdistill.detectors.base import Queries, Taps
from detdistill.detectors.recorder import Call
from detdistill.detectors.resnet_fpn import Positive
from detdistill.engines.transformers.detector import (
    SetPredictionDetector,
    SetPredictionParams,
    image_mask,
    memory_inputs,
    scale_mask,
)

PRIOR = 0.01
"""The score that an untrained class head gives (Lin et al., arXiv 1708.02002)."""


class DeformableDetrParams(SetPredictionParams):
    """Deformable DETR. `encoder_layers` see all levels."""

    family: Literal["deformable_detr"]
    encoder_layers: Positive = 6
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def config(self, num_classes: int) -> DeformableDetrConfig:
        return DeformableDetrConfig(
            **self.shared(num_classes), encoder_n_points=self.points, dropout=self.dropout, with_box_refine=True
        )


class DeformableDetrDetector(SetPredictionDetector):
    """Deformable DETR: queries are learned, each with a position that gives its reference point."""

    masks_padding = True

    @staticmethod
    def prepare(model: Any) -> None:
        # As in the paper's released code; transformers leaves these to its general initialisation.
        for classify in model.class_embed:
            nn.init.constant_(classify.bias, torch.logit(torch.tensor(PRIOR)).item())
        for index, regress in enumerate(model.bbox_embed):
            nn.init.zeros_(regress.layers[-1].weight)
            nn.init.zeros_(regress.layers[-1].bias)
            if index == 0:
                nn.init.constant_(regress.layers[-1].bias[2:], -2.0)

    def decode(self, taps: Taps, queries: Queries) -> Taps:
        if queries.position is None:
            raise UserError("deformable_detr decodes at queries with a learned position; those given have none")
        # The layer that finds a position's reference point is the decoder's own, also at another detector's positions.
        queries = replace(queries, boxes=self._references(queries.position))
        mask = image_mask(taps.image_size, taps.image_sizes, queries.content.device)
        masks = [scale_mask(mask, level) for level in taps.memory.values()]
        model = self.model.model
        output = model.decoder(
            inputs_embeds=queries.content,
            object_queries_position_embeddings=queries.position,
            reference_points=queries.boxes[..., :2],
            encoder_attention_mask=torch.cat([mask.flatten(1) for mask in masks], dim=1),
            valid_ratios=torch.stack([model.get_valid_ratio(mask, queries.content.dtype) for mask in masks], dim=1),
            **memory_inputs(taps),
        )
        found = Taps(image_size=taps.image_size, image_sizes=taps.image_sizes)
        self._read_layers(found, output, queries)
        return found

    @torch.no_grad()
    def random_queries(self, taps: Taps, count: int) -> Queries:
        """Content and position drawn from N(0, 1), as untrained embeddings are."""
        first = next(iter(taps.memory.values()))
        content, position = torch.randn(2, len(first), count, self.model.config.d_model, device=first.device)
        return Queries(content, self._references(position), position)

    def _references(self, position: Tensor) -> Tensor:
        return _as_boxes(self.model.model.reference_points(position).sigmoid())

    def _criterion(self, matcher: nn.Module) -> nn.Module:
        config = self.model.config
        return DeformableDetrImageLoss(matcher, config.num_labels, config.focal_alpha, ["labels", "boxes"])

    def _matcher(self) -> nn.Module:
        config = self.model.config
        return DeformableDetrHungarianMatcher(config.class_cost, config.bbox_cost, config.giou_cost)

    def _weighted(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        config = self.model.config
        weights = {"ce": 1.0, "bbox": config.bbox_loss_coefficient, "giou": config.giou_loss_coefficient}
        # What is left out is the cardinality error, a figure for logs.
        return {name: weights[name.split("_")[1]] * value for name, value in losses.items() if name.startswith("loss_")}

    def _initial_queries(self, call: Call) -> Queries:
        inputs = call.kwargs
        position = inputs["object_queries_position_embeddings"]
        return Queries(inputs["inputs_embeds"], _as_boxes(inputs["reference_points"]), position)

    def _layers(self, output: Any, queries: Queries) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        reference = queries.boxes[..., :2]
        for index, hidden in enumerate(output.intermediate_hidden_states.unbind(1)):
            deltas = self.model.bbox_embed[index](hidden)
            known = reference.shape[-1]
            moved = deltas[..., :known] + inverse_sigmoid(reference)
            yield hidden, self.model.class_embed[index](hidden), torch.cat([moved, deltas[..., known:]], -1).sigmoid()
            reference = output.intermediate_reference_points[:, index]


def _as_boxes(points: Tensor) -> Tensor:
    """Points (..., 2) as boxes (..., 4) of no size."""
    return torch.cat([points, torch.zeros_like(points)], dim=-1)
