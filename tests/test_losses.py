"""What holds of every distillation loss as a function of two tensors: gradients, zero, order, scale, extremes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from detdistill.distill.cnn.backbone.attention_transfer import attention_loss as transfer_loss
from detdistill.distill.cnn.backbone.fgfi import imitation_loss
from detdistill.distill.cnn.backbone.fitnets import hint_loss
from detdistill.distill.cnn.head.bckd import disputed_box_loss
from detdistill.distill.cnn.head.crosskd import box_loss, edge_loss, iou_loss, quality_loss, restandardize
from detdistill.distill.cnn.head.cwd_head import class_maps
from detdistill.distill.cnn.head.ld import localization_loss, soft_divergence
from detdistill.distill.cnn.neck.cwd import channel_loss
from detdistill.distill.cnn.neck.defeat import region_loss
from detdistill.distill.cnn.neck.fgd import GcBlock, attention_loss, context_loss, focal_loss
from detdistill.distill.cnn.neck.frs import rich_losses
from detdistill.distill.cnn.neck.mgd import generator, masked_generation_loss
from detdistill.distill.cnn.neck.pkd import pearson_loss
from detdistill.distill.cnn.neck.reviewkd import context_loss as hierarchical_loss
from detdistill.distill.cnn.rpn_roi.chen import bounded_loss, sampling_chance, soft_class_loss, soft_objectness_loss
from detdistill.distill.cnn.rpn_roi.defeat_proposals import divergence
from detdistill.distill.cnn.rpn_roi.dkd import decoupled_kl
from detdistill.distill.cnn.rpn_roi.gid import feature_loss, relation_loss
from detdistill.distill.cnn.rpn_roi.mimic import mimic_loss
from detdistill.distill.cnn.rpn_roi.wkd import wasserstein_loss
from detdistill.distill.transformer.feature.clockdistill import memory_loss
from detdistill.distill.transformer.feature.detrdistill_features import object_mask
from detdistill.distill.transformer.feature.vkd import normalised_loss
from detdistill.distill.transformer.logit.d3etr import fixed_losses
from detdistill.distill.transformer.logit.detrdistill_logits import matched_losses
from detdistill.distill.transformer.logit.matched_logits import score_divergence
from detdistill.distill.transformer.query.kd_detr import query_loss
from detdistill.distill.transformer.query_pairs import Predictions

MAPS, ROWS, BOXES, EDGES, QUERIES = (2, 3, 6, 5), (8, 5), (8, 4), (6, 4, 5), (2, 4, 7)
TERMS = {"classes": 1.0, "boxes": 5.0, "giou": 2.0}


class Loss(NamedTuple):
    """A loss of student and teacher, and what it promises."""

    shape: tuple[int, ...]
    """The first dimension is that of images or of rows."""
    value: Callable[[Tensor, Tensor], Tensor]
    zero: bool = True
    """Whether it is 0 where both agree."""
    least: bool = False
    """Else, whether its gradient is."""
    repeated: float = 1e-9
    """How far repeating the batch may move it, relatively: what is unbiased divides by n - 1."""
    grows: float = 1.0
    """What repeating the batch multiplies it by."""


def mask(features: Tensor) -> Tensor:
    """The same for every image, so that batches may be reordered and repeated: (N, 1, H, W)."""
    cells = torch.arange(features[0, 0].numel()).view(features.shape[2:])
    return (cells % 3 == 0).expand(len(features), 1, -1, -1)


def uniform(features: Tensor) -> Tensor:
    """A draw that is the same for every image, (1, 1, H, W)."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 1, *features.shape[2:], generator=generator, dtype=torch.float64).to(features)


def labels(rows: Tensor) -> Tensor:
    """One for each row, hanging on its values, so that they move with it."""
    return (rows[:, 0] > 0).long() * (rows.shape[1] - 1)


def corners(rows: Tensor) -> Tensor:
    """Boxes xyxy with area."""
    return torch.cat([rows[:, :2], rows[:, :2] + 1 + rows[:, 2:].abs()], dim=1)


def queries(rows: Tensor) -> Predictions:
    """Logits and boxes of rows (N, Q, K + 4)."""
    return Predictions(rows[..., 4:], rows[..., :4].sigmoid() / 2 + 0.1)


def summed(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


torch.manual_seed(3)
GENERATOR, BLOCK = generator(3).double(), GcBlock(3).double()
for parameter in BLOCK.parameters():
    torch.nn.init.normal_(parameter)

LOSSES: dict[str, Loss] = {
    "fitnets": Loss(MAPS, hint_loss),
    "attention_transfer": Loss(MAPS, transfer_loss),
    "fgfi": Loss(MAPS, lambda s, t: imitation_loss([s, 2 * s], [t, 2 * t], [mask(s), ~mask(s)])),
    "pkd": Loss(MAPS, pearson_loss, repeated=0.02),
    "cwd": Loss(MAPS, lambda s, t: channel_loss(s, t, 2.0)),
    "mgd": Loss(MAPS, lambda s, t: masked_generation_loss(s, t, GENERATOR.to(s), uniform(s), 0.4), zero=False),
    "fgd_focal": Loss(MAPS, lambda s, t: focal_loss(s, t, mask(s), 0.5)),
    "fgd_attention": Loss(MAPS, lambda s, t: attention_loss(s, t, 0.5)),
    "fgd_context": Loss(MAPS, lambda s, t: context_loss(BLOCK.to(s)(s), BLOCK.to(t)(t))),
    "defeat": Loss(MAPS, lambda s, t: region_loss(s, t, mask(s)) + 2 * region_loss(s, t, ~mask(s))),
    "reviewkd": Loss(MAPS, hierarchical_loss),
    "frs_features": Loss(MAPS, lambda s, t: rich_losses(s, t, s.flatten(1)[..., None], t.flatten(1)[..., None])[0]),
    "frs_classes": Loss(
        MAPS,
        lambda s, t: rich_losses(s, t, s.flatten(1)[..., None], t.flatten(1)[..., None])[1],
        zero=False,
        least=True,
    ),
    "crosskd_align": Loss(MAPS, lambda s, t: hint_loss(restandardize(s, t), t), repeated=0.02),
    "crosskd_classes": Loss(ROWS, quality_loss, grows=2),
    "crosskd_boxes": Loss(BOXES, lambda s, t: box_loss(corners(s), corners(t), t), grows=2),
    "crosskd_iou": Loss(BOXES, lambda s, t: box_loss(corners(s), corners(t), t, iou_loss), grows=2),
    "crosskd_edges": Loss(EDGES, lambda s, t: edge_loss(s, t, t[:, 0]), grows=2),
    "bckd_boxes": Loss(BOXES, lambda s, t: disputed_box_loss(corners(s), corners(t), -t, t), grows=2),
    "ld_edges": Loss(EDGES, lambda s, t: localization_loss(s, t, t[:, 0, 0].sigmoid(), 2.0), grows=2),
    "ld_classes": Loss(ROWS, lambda s, t: soft_divergence(s, t, 2.0).mean()),
    "cwd_head": Loss((2, 12, 3), lambda s, t: channel_loss(class_maps(s, 6), class_maps(t, 6), 1.0)),
    "chen_rpn": Loss(
        ROWS,
        lambda s, t: (soft_objectness_loss(s, t, 1.5) * sampling_chance((t > 0).long() - 1, 2)).sum() / (2 * len(s)),
        zero=False,
    ),
    "chen_classes": Loss(ROWS, lambda s, t: soft_class_loss(s, t, 1.5), zero=False),
    "chen_boxes": Loss(BOXES, lambda s, t: bounded_loss(s, t, t, 0.1).mean()),
    "mimic": Loss(MAPS, mimic_loss),
    "dkd": Loss(ROWS, lambda s, t: torch.stack(decoupled_kl(s, t, labels(t), 2.0)).sum()),
    "gid_features": Loss(MAPS, feature_loss),
    "gid_relations": Loss((4, 3), relation_loss, repeated=1.0),  # of all pairs of the batch, twins among them
    "defeat_proposals": Loss(ROWS, lambda s, t: divergence(s, t, labels(t) < 4, 2.0)),
    "wkd": Loss(MAPS, lambda s, t: wasserstein_loss(s, t, 2.0, 2)),
    "kd_detr": Loss(QUERIES, lambda s, t: summed(query_loss(queries(s), queries(t), 10.0)), repeated=1.0),
    "d3etr": Loss(QUERIES, lambda s, t: summed(fixed_losses(queries(s), queries(t), TERMS)), zero=False),
    "detrdistill_logits": Loss(
        QUERIES, lambda s, t: summed(matched_losses(queries(s), queries(t), t[..., 0].sigmoid(), TERMS)), zero=False
    ),
    "clockdistill": Loss(MAPS, lambda s, t: memory_loss(s, t, mask(s))),
    "detrdistill_features": Loss(
        MAPS,
        lambda s, t: hint_loss(*(object_mask(t.flatten(2).mT, t[:, 0].flatten(1).sigmoid(), t) * x for x in (s, t))),
    ),
    "vkd": Loss(MAPS, normalised_loss, repeated=0.02),
    "matched_logits": Loss(ROWS, score_divergence),
}


@pytest.fixture(params=LOSSES)
def loss(request: pytest.FixtureRequest) -> Loss:
    return LOSSES[request.param]


def drawn(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Student and teacher in float64."""
    student, teacher = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return student.requires_grad_(), teacher


def test_its_gradient_is_that_of_its_values(loss: Loss) -> None:
    student, teacher = drawn(loss.shape)
    assert gradcheck(lambda own: loss.value(own, teacher), [student], atol=1e-6)


def test_it_is_zero_where_both_agree_or_at_its_least(loss: Loss) -> None:
    student, teacher = drawn(loss.shape)
    apart, same = loss.value(student, teacher).item(), loss.value(teacher.clone(), teacher).item()
    assert apart > 1e-4
    assert same == pytest.approx(0, abs=1e-5) if loss.zero else same > 1e-4
    if loss.least:
        own = teacher.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss.value(own, teacher), [own])
        assert gradient.abs().max() < 1e-6


def test_the_order_of_images_or_rows_does_not_matter(loss: Loss) -> None:
    student, teacher = drawn(loss.shape)
    order = torch.arange(len(student)).flip(0).roll(1)
    assert loss.value(student[order], teacher[order]).item() == pytest.approx(loss.value(student, teacher).item())


def test_repeating_the_batch_leaves_it_as_it_is_but_where_its_docstring_says_so(loss: Loss) -> None:
    student, teacher = drawn(loss.shape)
    once, twice = loss.value(student, teacher), loss.value(torch.cat([student] * 2), torch.cat([teacher] * 2))
    assert twice.item() == pytest.approx(loss.grows * once.item(), rel=loss.repeated)


def test_its_gradient_is_finite(loss: Loss) -> None:
    student, teacher = drawn(loss.shape)
    (gradient,) = torch.autograd.grad(loss.value(student, teacher), [student])
    assert gradient.isfinite().all()


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1e3])
def test_values_and_gradients_are_finite_at_extremes(loss: Loss, scale: float) -> None:
    student, teacher = drawn(loss.shape)
    own = (scale * student.detach()).float().requires_grad_()
    loss.value(own, (scale * teacher).float()).backward()
    assert own.grad is not None
    assert own.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_close(loss: Loss, dtype: torch.dtype) -> None:
    student, teacher = (each.detach() for each in drawn(loss.shape))
    exact = loss.value(student, teacher).item()
    own = student.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype):
        value = loss.value(own, teacher.to(dtype))
    value.backward()
    assert own.grad is not None
    assert own.grad.isfinite().all()
    assert value.item() == pytest.approx(exact, rel=0.1, abs=0.02)


@pytest.mark.parametrize("name", [name for name, each in LOSSES.items() if each.shape == MAPS])
def test_a_level_of_one_pixel(name: str) -> None:
    student, teacher = drawn((2, 3, 1, 1))
    (gradient,) = torch.autograd.grad(LOSSES[name].value(student, teacher), [student], allow_unused=True)
    assert gradient is None or gradient.isfinite().all()
