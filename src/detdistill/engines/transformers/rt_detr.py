"""RT-DETR: queries chosen from the memory, contrastive denoising, box refinement.

Zhao et al., CVPR 2024, arXiv 2304.08069.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from transformers import RTDetrConfig
from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher, RTDetrLoss
from transformers.models.rt_detr.modeling_rt_detr import inverse_sigmoid

from detdistill.core.errors import UserError
from detdistill.detectors.base import Queries, Taps
from detdistill.detectors.recorder import Call
from detdistill.detectors.resnet_fpn import Positive
from detdistill.engines.transformers.detector import SetPredictionDetector, SetPredictionParams, memory_inputs


class RTDetrParams(SetPredictionParams):
    """RT-DETR. `encoder_layers` see the coarsest level alone."""

    family: Literal["rt_detr"]
    encoder_layers: Positive = 1
    expansion: Annotated[float, Field(gt=0, le=16)] = 1.0
    """Width of the pyramid's blocks in the encoder, as a share of `hidden`; 0.5 in the published R18 model."""
    denoising: Annotated[int, Field(ge=0, le=16_384)] = 100
    """Denoising queries of each kind, noised objects and noised near misses."""

    def config(self, num_classes: int) -> RTDetrConfig:
        levels = len(self.widths)
        return RTDetrConfig(
            **self.shared(num_classes),
            encoder_hidden_dim=self.hidden,
            encoder_in_channels=[self.neck_channels] * levels,
            decoder_in_channels=[self.hidden] * levels,
            feat_strides=self.strides,
            encode_proj_layers=[levels - 1],
            num_denoising=self.denoising,
            hidden_expansion=self.expansion,
            freeze_backbone_batch_norms=False,
        )


class RTDetrDetector(SetPredictionDetector):
    """RT-DETR: queries are the memory's best-scored locations, their content the features there.

    `learn_initial_query` stays off: transformers 5.23 cannot run with it (it tiles the embedding's module).
    """

    masks_padding = False

    @staticmethod
    def prepare(model: Any) -> None:
        # transformers draws these scales from N(0, 0.01), which starves a model that trains from nothing.
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)

    def decode(self, taps: Taps, queries: Queries) -> Taps:
        decoder, inputs = self.model.model.decoder, memory_inputs(taps)
        found = Taps(image_size=taps.image_size, image_sizes=taps.image_sizes)
        hidden, reference = queries.content, queries.boxes
        # The decoder's own loop: called whole, it would take logits of boxes, and the way there and back rounds.
        for index, layer in enumerate(decoder.layers):
            hidden = layer(
                hidden,
                object_queries_position_embeddings=decoder.query_pos_head(reference),
                reference_points=reference.unsqueeze(2),
                **inputs,
            )
            boxes = (decoder.bbox_embed[index](hidden) + inverse_sigmoid(reference)).sigmoid()
            reference = boxes.detach()
            found.queries[str(index)], found.query_boxes[str(index)] = hidden, boxes
            found.query_logits[str(index)] = decoder.class_embed[index](hidden)
        return found

    @torch.no_grad()
    def random_queries(self, taps: Taps, count: int) -> Queries:
        """Contents and boxes that the encoder's head gives at `count` locations, all equally likely, scores unseen."""
        model, inputs = self.model.model, memory_inputs(taps)
        flat = inputs["encoder_hidden_states"]
        shapes = tuple(inputs["spatial_shapes_list"])
        anchors, valid = model.generate_anchors(shapes, device=flat.device, dtype=flat.dtype)
        chosen = valid[0, :, 0].to(flat.dtype).expand(len(flat), -1).multinomial(count, replacement=True)[..., None]
        content = model.enc_output(valid.to(flat.dtype) * flat)
        boxes = (model.enc_bbox_head(content) + anchors).sigmoid()
        return Queries(content.take_along_dim(chosen, 1), boxes.take_along_dim(chosen, 1))

    def _batch(self, images: Sequence[Tensor]) -> ImageList:
        batch = super()._batch(images)
        height, width = batch.tensors.shape[-2:]
        locations = sum((height // stride) * (width // stride) for stride in self.model.config.feat_strides)
        if locations < self.num_queries:
            raise UserError(
                f"rt_detr asks for {self.num_queries} queries, images of {height} x {width} pixels have {locations} "
                "locations to choose them from"
            )
        return batch

    def _criterion(self, matcher: nn.Module) -> nn.Module:
        criterion: Any = RTDetrLoss(self.model.config)
        criterion.matcher = matcher
        return criterion

    def _matcher(self) -> nn.Module:
        return RTDetrHungarianMatcher(self.model.config)

    def _weighted(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        return losses

    def _initial_queries(self, call: Call) -> Queries:
        return Queries(call.kwargs["inputs_embeds"], call.kwargs["reference_points"].sigmoid())

    def _layers(self, output: Any, queries: Queries) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        layers = (output.intermediate_hidden_states, output.intermediate_logits, output.intermediate_reference_points)
        return zip(*(layer.unbind(1) for layer in layers), strict=True)
