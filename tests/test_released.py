"""Our losses against values that the authors' released code gave for the same inputs, which a formula makes anew.

Each value and each gradient's norm was computed in float64 by the code of that repository and commit, unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from detdistill.catalogue import known
from detdistill.distill.cnn.backbone.attention_transfer import attention_loss
from detdistill.distill.cnn.backbone.fgfi import imitation_loss, imitation_masks
from detdistill.distill.cnn.head.bckd import disputed_box_loss
from detdistill.distill.cnn.head.crosskd import quality_loss
from detdistill.distill.cnn.head.ld import localization_loss, soft_divergence
from detdistill.distill.cnn.neck.cwd import channel_loss
from detdistill.distill.cnn.neck.defeat import region_loss
from detdistill.distill.cnn.neck.frs import rich_losses
from detdistill.distill.cnn.neck.mgd import generator, masked_generation_loss
from detdistill.distill.cnn.neck.pkd import pearson_loss
from detdistill.distill.cnn.neck.reviewkd import Fusion, context_loss
from detdistill.distill.cnn.rpn_roi.defeat_proposals import divergence
from detdistill.distill.cnn.rpn_roi.dkd import decoupled_kl
from detdistill.distill.cnn.rpn_roi.gid import feature_loss, relation_loss
from detdistill.distill.cnn.rpn_roi.wkd import wasserstein_loss
from detdistill.distill.transformer.feature.vkd import normalised_loss
from detdistill.distill.transformer.query.kd_detr import query_loss
from detdistill.distill.transformer.query_pairs import Predictions

MAPS, ROWS = (2, 6, 9, 7), (20, 5)


def wave(*shape: int, phase: float = 0.0) -> Tensor:
    """Values that look random and are the same everywhere."""
    steps = torch.arange(math.prod(shape), dtype=torch.float64)
    return 2 * torch.sin(0.37 * steps.square() + phase).view(shape)


def masked(student: Tensor, teacher: Tensor, inside: bool) -> Tensor:
    """DeFeat's region, every fourth cell."""
    cells = (torch.arange(63).view(9, 7) % 4 == 0).expand(2, 1, 9, 7)
    return region_loss(student, teacher, cells if inside else ~cells)


def rich(student: Tensor, teacher: Tensor, part: int) -> Tensor:
    """FRS with the maps themselves as logits, or with logits of three anchors and four classes."""
    if part == 1:
        own, other = (each.unflatten(1, (3, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for each in (student, teacher))
        return rich_losses(student, teacher, own, other)[1]
    scores = wave(2, 12, 9, 7, phase=1.0).unflatten(1, (3, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
    return rich_losses(student, teacher, scores, scores)[0]


def reviewed(student: Tensor, _: Tensor) -> Tensor:
    """ReviewKD over three levels of which the first is given, all parameters in their order by the formula."""
    features = [student, *(wave(2, 5, size, size + 1, phase=size) for size in (4, 2))]
    loss, residual = torch.zeros((), dtype=torch.float64), None
    for level in (2, 1, 0):
        fuse = Fusion(5, 6, 6, coarsest=level == 2).double()
        for module in (fuse.reduce, fuse.expand, fuse.attend or nn.Identity()):
            for index, parameter in enumerate(module.parameters()):
                parameter.data = wave(*parameter.shape, phase=float(index))
        imitation, residual = fuse(features[level], residual)
        loss = loss + context_loss(imitation, wave(2, 6, *features[level].shape[2:], phase=2.0))
    return loss


def disputed(student: Tensor, teacher: Tensor) -> Tensor:
    """BCKD's boxes, made of the rows, with scores of their own."""
    boxes = [torch.cat([rows[:, :2], rows[:, :2] + 1 + rows[:, 2:].abs()], dim=1) for rows in (student, teacher)]
    return disputed_box_loss(*boxes, wave(20, 5), wave(20, 5, phase=1.0))


def imitated(student: Tensor, teacher: Tensor) -> Tensor:
    """FGFI with the release's anchors of stride 16 (scales 1, 2, 4) and boxes, both of which end in a last pixel."""
    base = [[-3.5, 2, 18.5, 13], [-15, -4, 30, 19], [-38, -16, 53, 31], [0, 0, 15, 15], [-8, -8, 23, 23],
            [-24, -24, 39, 39], [2.5, -3, 12.5, 18], [-3, -14, 18, 29], [-14, -36, 29, 51]]  # fmt: skip
    ends = torch.tensor([0, 0, 1, 1])
    cells = 16 * torch.cartesian_prod(torch.arange(9), torch.arange(7)).flip(1).repeat(1, 2)
    anchors = (torch.tensor(base, dtype=torch.float64) + cells[:, None] + ends).flatten(0, 1)
    objects = [[[10.0, 20, 41, 75], [60, 70, 100, 90]], [[30.0, 30, 49, 49]]]
    boxes = [torch.tensor(each, dtype=torch.float64) + ends for each in objects]
    masks = imitation_masks({"16": anchors}, boxes, 0.5, {"16": (9, 7)})
    return imitation_loss([student], [teacher], [masks["16"]])


def generated(student: Tensor, teacher: Tensor) -> Tensor:
    """MGD's restored map, its parameters and its draw by the formula."""
    generate = generator(6).double()
    for index, parameter in enumerate(generate.parameters()):
        parameter.data = wave(*parameter.shape, phase=float(index))
    return masked_generation_loss(student, teacher, generate, wave(2, 1, 9, 7, phase=3.0) / 4 + 0.5, 0.65)


def localized(student: Tensor, teacher: Tensor) -> Tensor:
    """LD's box term of five locations, weighted."""
    edges = [rows.unflatten(0, (5, 4)) for rows in (student, teacher)]
    return localization_loss(*edges, wave(5, phase=2.0).abs(), 10.0) / 4


def decoupled(student: Tensor, teacher: Tensor, other_weight: float, temperature: float) -> Tensor:
    target, other = decoupled_kl(student, teacher, torch.arange(20) % 5, temperature)
    return target + other_weight * other


def objectness(student: Tensor, teacher: Tensor, part: int) -> Tensor:
    """FRS on an RPN of six anchors whose objectness is the maps themselves, or another's."""
    maps = [student, teacher] if part else [wave(*MAPS, phase=2.0)] * 2
    own, other = (each.permute(0, 2, 3, 1).flatten(1)[..., None] for each in maps)
    return rich_losses(student, teacher, own, other)[part]


def queried(student: Tensor, teacher: Tensor) -> Tensor:
    """KD-DETR's three terms of one group of ten queries, with the release's weights."""
    own, other = (Predictions(each[..., :5], each[..., 5:].sigmoid()) for each in (student, teacher))
    terms = query_loss(own, other, 10.0)
    return terms["classes"] + 5 * terms["boxes"] + 2 * terms["giou"]


class Case(NamedTuple):
    method: str
    shape: tuple[int, ...]
    loss: Callable[[Tensor, Tensor], Tensor]
    value: float
    gradient: float
    phase: float = 0.0


CASES = [
    Case("attention_transfer", MAPS, attention_loss, 0.003019143145675806, 0.0006418290291028009),
    Case("defeat", MAPS, lambda s, t: masked(s, t, True), 0.8715287475739585, 0.09528076644263206),
    Case("defeat", MAPS, lambda s, t: masked(s, t, False), 0.8837520757262498, 0.05598100221466505),
    Case("frs", MAPS, lambda s, t: rich(s, t, 0), 10.563735597827401, 0.5791695993781255),
    Case("frs", (2, 12, 9, 7), lambda s, t: rich(s, t, 1), 8.266896730130314, 0.08367936306441567),
    Case("reviewkd", MAPS, context_loss, 1.002298404205488, 0.05557760082705303),
    Case("reviewkd", (2, 5, 8, 9), reviewed, 15.17762423513458, 0.04181765777207916, phase=8.0),
    Case(
        "defeat_proposals",
        ROWS,
        lambda s, t: divergence(s, t, torch.arange(20) % 5 < 4, 3.0),
        0.7083192554719776,
        0.13478988422435398,
    ),
    Case("bckd", ROWS, quality_loss, 18.80749429340382, 2.283964905700761),
    Case("bckd", (20, 4), disputed, 8.53358554148848, 0.7807738761135515),
    Case("gid", MAPS, feature_loss, 10.567772861012777, 0.5792105426617892),
    Case("gid", (7, 11), relation_loss, 0.008641174915764873, 0.006020377242904961),
    Case("wkd", MAPS, lambda s, t: wasserstein_loss(s, t, 2.0), 0.31671349181724096, 0.13577371311602576),
    Case("wkd", MAPS, lambda s, t: wasserstein_loss(s, t, 2.0, 4), 3.1943978851856487, 0.3697159434062565),
    Case("vkd", MAPS, normalised_loss, 0.41328646879833963, 0.017896309799725806),
    Case("pkd", MAPS, pearson_loss, 0.42734380787333265, 0.020811447997021646),
    Case("cwd", MAPS, lambda s, t: channel_loss(s, t, 1.0), 0.6075480686357096, 0.04343873477563933),
    Case("cwd", MAPS, lambda s, t: channel_loss(s, t, 4.0), 0.8410039482304897, 0.047576774925781315),
    Case("cwd_head", (2, 12, 9, 7), lambda s, t: channel_loss(s, t, 1.0), 0.6284457649872096, 0.031003178566657224),
    Case("mgd", MAPS, generated, 1792275.355843024, 197235.06050848967),
    Case("ld", ROWS, lambda s, t: soft_divergence(s, t, 10.0).mean(), 0.15174027590556344, 0.02461614426360404),
    Case("ld", ROWS, localized, 1.212342159413231, 0.20303461273566817),
    Case("dkd", ROWS, lambda s, t: decoupled(s, t, 0.25, 1.0), 0.23226534530800802, 0.055166387354048906),
    Case("dkd", ROWS, lambda s, t: decoupled(s, t, 8.0, 4.0), 6.047221376755265, 1.0944895518702038),
    Case("frs_rpn", MAPS, lambda s, t: objectness(s, t, 0), 10.686142721014747, 0.588952628534773),
    Case("frs_rpn", MAPS, lambda s, t: objectness(s, t, 1), 4.08993236229077, 0.0590772717787434),
    Case("fgfi", MAPS, imitated, 4.844609372796815, 0.8037088505005459),
    Case("kd_detr", (2, 10, 9), queried, 5.992032411255643, 0.45429145301213864),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.method)
def test_value_and_gradient_are_the_releases(case: Case) -> None:
    student, teacher = wave(*case.shape, phase=case.phase).requires_grad_(), wave(*case.shape, phase=1.0)
    value = case.loss(student, teacher)
    (gradient,) = torch.autograd.grad(value, [student])
    assert value.item() == pytest.approx(case.value, rel=1e-5)
    assert gradient.norm().item() == pytest.approx(case.gradient, rel=1e-5)


def test_every_method_that_is_said_to_be_held_to_a_release_has_a_case() -> None:
    assert {name for name, what in known().items() if what.held} == {case.method for case in CASES}
