"""The transformers engine: RT-DETR and Deformable DETR of Hugging Face, on our small ResNet-FPN or with their weights.

Built from configuration alone, nothing is downloaded. A further family is a schema of its sizes, a subclass of
`SetPredictionDetector` that says how its decoder begins and what it returns, and a line in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import (
    DeformableDetrConfig,
    DeformableDetrForObjectDetection,
    PreTrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    RTDetrConfig,
    RTDetrForObjectDetection,
)
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher, DeformableDetrImageLoss
from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher, RTDetrLoss
from transformers.models.rt_detr.modeling_rt_detr import inverse_sigmoid

from detdistill.detectors.base import Detector, Queries, Taps
from detdistill.detectors.recorder import Call
from detdistill.detectors.resnet_fpn import KeepSize, Positive, ResNetFPNParams
from detdistill.detectors.transformers.detector import (
    SetPredictionDetector,
    Trunk,
    image_mask,
    memory_inputs,
    scale_mask,
)
from detdistill.errors import UserError, near
from detdistill.params import Slice, parse

PRIOR = 0.01
"""The score that an untrained class head gives (Lin et al., arXiv 1708.02002)."""


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

    def config(self, num_classes: int) -> PreTrainedConfig:
        """The engine's configuration for the model of these sizes."""
        raise NotImplementedError

    def shared(self, num_classes: int) -> dict[str, Any]:
        """What the engine's configurations call the sizes that both families have."""
        levels, channels = len(self.widths), self.neck_channels
        return {
            # The engine wants a backbone to begin with; the smallest, for Trunk takes its place.
            "backbone_config": ResNetConfig(
                embedding_size=channels,
                hidden_sizes=[channels] * levels,
                depths=[1] * levels,
                layer_type="basic",
                out_indices=list(range(1, levels + 1)),
            ),
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


class RTDetrParams(SetPredictionParams):
    """RT-DETR (Zhao et al., CVPR 2024, arXiv 2304.08069). `encoder_layers` see the coarsest level alone."""

    family: Literal["rt_detr"]
    encoder_layers: Positive = 1
    expansion: Annotated[float, Field(gt=0)] = 1.0
    """Width of the pyramid's blocks in the encoder, as a share of `hidden`; 0.5 in the published R18 model."""
    denoising: Annotated[int, Field(ge=0)] = 100
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


class DeformableDetrParams(SetPredictionParams):
    """Deformable DETR with box refinement (Zhu et al., ICLR 2021, arXiv 2010.04159), single stage."""

    family: Literal["deformable_detr"]
    encoder_layers: Positive = 6
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def config(self, num_classes: int) -> DeformableDetrConfig:
        return DeformableDetrConfig(
            **self.shared(num_classes), encoder_n_points=self.points, dropout=self.dropout, with_box_refine=True
        )


class PretrainedParams(Slice):
    """A model of a family with its weights and its own backbone; classification heads of other classes start anew."""

    family: str
    pretrained: str
    """A folder that `save_pretrained` wrote, or a name in the local cache of the hub; safetensors only."""
    mean: list[float]
    std: list[float]
    """RGB statistics that the weights were trained with."""
    detections: Positive = 100


class RTDetrDetector(SetPredictionDetector):
    """RT-DETR: queries are the memory's best-scored locations, their content the features there.

    `learn_initial_query` stays off: transformers 5.23 cannot run with it (it tiles the embedding's module).
    """

    masks_padding = False

    @staticmethod
    def prepare(model: nn.Module) -> None:
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

    def _criterion(self, matcher: nn.Module) -> nn.Module:
        criterion = RTDetrLoss(self.model.config)
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


class DeformableDetrDetector(SetPredictionDetector):
    """Deformable DETR: queries are learned, each with a position that gives its reference point."""

    masks_padding = True

    @staticmethod
    def prepare(model: nn.Module) -> None:
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
        return Queries(content, _as_boxes(self.model.model.reference_points(position).sigmoid()), position)

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


FAMILIES: dict[str, tuple[type[SetPredictionParams], type[PreTrainedModel], Any]] = {
    "rt_detr": (RTDetrParams, RTDetrForObjectDetection, RTDetrDetector),
    "deformable_detr": (DeformableDetrParams, DeformableDetrForObjectDetection, DeformableDetrDetector),
}


def build(params: dict[str, Any], num_classes: int, where: str) -> Detector:
    """The detector of `params["family"]`: untrained, or with the weights of `params["pretrained"]`.

    Raises:
        UserError: an unknown family or key, sizes that do not divide, or weights that are not on this machine.
    """
    family = params.get("family")
    if family not in FAMILIES:
        raise UserError(f"{where}: detector.family: transformers has no family {family!r}{near(family, FAMILIES)}")
    schema, model_class, detector = FAMILIES[family]
    if "pretrained" in params:
        weights: Any = parse(PretrainedParams, params, f"{where}: detector")
        model = _load(weights, model_class, num_classes, f"{where}: detector.pretrained")
        levels = model.config.num_feature_levels - len(model.model.backbone.intermediate_channel_sizes)
        return detector(
            model, num_classes, KeepSize(0, 0, weights.mean, weights.std, 32 * 2**levels), weights.detections
        )
    sizes: Any = parse(schema, params, f"{where}: detector")
    for name, divisor in (
        ("heads", sizes.heads),
        ("groups of normalisation", 32 if family == "deformable_detr" else 4),
    ):
        if sizes.hidden % divisor:
            raise UserError(
                f"{where}: detector.hidden: {sizes.hidden} is no multiple of {divisor}, the number of {name}"
            )
    model = model_class(sizes.config(num_classes))
    detector.prepare(model)
    model.model.backbone = Trunk(sizes)
    return detector(
        model, num_classes, KeepSize(0, 0, sizes.mean, sizes.std, size_divisible=sizes.strides[-1]), sizes.detections
    )


def _load(weights: PretrainedParams, model_class: type[PreTrainedModel], num_classes: int, where: str) -> Any:
    """The model with its weights, from this machine alone. Raises UserError when they are not there."""
    try:
        found = PreTrainedConfig.get_config_dict(weights.pretrained, local_files_only=True)[0].get("model_type")
    except (OSError, ValueError) as error:
        raise _absent(weights.pretrained, where) from error
    if found != weights.family:
        raise UserError(f"{where}: {weights.pretrained} holds a model of {found!r}, the params say {weights.family!r}")
    try:
        return model_class.from_pretrained(
            weights.pretrained,
            local_files_only=True,
            use_safetensors=True,
            num_labels=num_classes,
            ignore_mismatched_sizes=True,
        )
    except OSError as error:
        raise _absent(weights.pretrained, where) from error
    except ImportError as error:
        raise UserError(f"{where}: {weights.pretrained}: {error}") from error


def _absent(name: str, where: str) -> UserError:
    return UserError(
        f"{where}: {name!r} is no folder with config.json and model.safetensors, and no such model is in the local "
        "cache of the hub; nothing is downloaded here"
    )
