"""Our losses against the values and gradients of the authors' released code, where a folder of them is at hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detdistill.distill.cnn.backbone.fgfi import imitation_loss, imitation_masks
from detdistill.distill.cnn.head.ld import localization_loss, soft_divergence
from detdistill.distill.cnn.neck.cwd import channel_loss
from detdistill.distill.cnn.neck.mgd import generator, masked_generation_loss
from detdistill.distill.cnn.neck.pkd import pearson_loss
from detdistill.distill.cnn.rpn_roi.dkd import decoupled_kl
from detdistill.distill.transformer.query.kd_detr import query_loss
from detdistill.distill.transformer.query_pairs import Predictions

SHARED = os.environ.get("DETDISTILL_SHARED")
pytestmark = pytest.mark.skipif(
    SHARED is None, reason="DETDISTILL_SHARED does not name the folder that holds oracles/ (published reference values)"
)
LEVELS = range(3)


class Oracle:
    """One file of reference values; inputs in float64, the student's with gradients."""

    def __init__(self, name: str):
        self.values = np.load(Path(str(SHARED)) / "oracles" / f"{name}.npz")

    def input(self, name: str) -> Tensor:
        tensor = torch.from_numpy(self.values[f"in/{name}"])
        tensor = tensor.double() if tensor.is_floating_point() else tensor
        return tensor.requires_grad_("student" in name)

    def hyper(self, case: str, name: str) -> float:
        return float(self.values[f"{case}/hp/{name}"])

    def load(self, module: nn.Module, prefix: str) -> nn.Module:
        names = [name for name in self.values.files if name.startswith(prefix)]
        module.load_state_dict({name.removeprefix(prefix): torch.from_numpy(self.values[name]) for name in names})
        return module.double()

    def check(self, case: str, term: str, value: Tensor, **students: Tensor) -> None:
        """The value to 1e-5 of the float64 reference; the gradients to float32 rounding of the stored ones."""
        assert value.item() == pytest.approx(float(self.values[f"{case}/out64/{term}"]), rel=1e-5)
        for name, gradient in zip(students, torch.autograd.grad(value, list(students.values())), strict=True):
            expected = torch.from_numpy(self.values[f"{case}/grad/{term}/{name}"]).double()
            torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
            assert gradient.norm().item() == pytest.approx(
                float(self.values[f"{case}/gradnorm/{term}/{name}"]), rel=1e-4
            )


def check_levels(oracle: Oracle, case: str, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    students = {f"student{level}": oracle.input(f"student{level}") for level in LEVELS}
    losses = [loss(student, oracle.input(f"teacher{level}")) for level, student in enumerate(students.values())]
    for level, value in enumerate(losses):
        assert value.item() == pytest.approx(float(oracle.values[f"{case}/out64/level{level}"]), rel=1e-5)
    oracle.check(case, "total", torch.stack(losses).sum(), **students)


@pytest.mark.parametrize("case", ["default", "retinanet"])
def test_pkd(case: str) -> None:
    oracle = Oracle("pkd")
    weight = oracle.hyper(case, "loss_weight")
    check_levels(oracle, case, lambda student, teacher: weight * pearson_loss(student, teacher))


@pytest.mark.parametrize("case", ["resize_student", "resize_teacher"])
def test_pkd_of_a_resized_map(case: str) -> None:
    oracle = Oracle("pkd")
    half, teacher = oracle.input("student_half"), oracle.input("teacher0")
    student = half
    if case == "resize_student":
        student = F.interpolate(half, teacher.shape[-2:], mode="bilinear")
    else:
        teacher = F.interpolate(teacher, half.shape[-2:], mode="bilinear")
    value = oracle.hyper(case, "loss_weight") * pearson_loss(student, teacher)
    oracle.check(case, "total", value, student_half=half)


@pytest.mark.parametrize("case", ["default", "fpn_config", "tau4"])
def test_cwd(case: str) -> None:
    oracle = Oracle("cwd")
    weight, tau = oracle.hyper(case, "loss_weight"), oracle.hyper(case, "tau")
    check_levels(oracle, case, lambda student, teacher: weight * channel_loss(student, teacher, tau))


@pytest.mark.parametrize(
    ("case", "name", "prefix"), [("default", "student0", "same"), ("two_stage_align", "student_c6", "c6")]
)
def test_mgd(case: str, name: str, prefix: str) -> None:
    oracle = Oracle("mgd")
    student, teacher, uniform = oracle.input(name), oracle.input("teacher0"), oracle.input("uniform")
    removed = oracle.hyper(case, "lambda_mgd")
    assert torch.equal((uniform <= 1 - removed).byte(), torch.from_numpy(oracle.values[f"{case}/out/kept_mask"]))
    channels = student.shape[1], teacher.shape[1]
    align = oracle.load(nn.Conv2d(*channels, 1), "param/c6/align.") if channels[0] != channels[1] else nn.Identity()
    generate = oracle.load(generator(channels[1]), f"param/{prefix}/generation.")
    value = masked_generation_loss(align(student), teacher, generate, uniform, removed)
    oracle.check(case, "total", oracle.hyper(case, "alpha_mgd") * value, **{name: student})


@pytest.mark.parametrize("case", ["default", "sharp"])
def test_ld(case: str) -> None:
    oracle = Oracle("ld")
    maps = {f"student_{kind}": oracle.input(f"student_{kind}") for kind in ("cls", "reg")}
    logits, other_logits = (
        each.permute(0, 2, 3, 1).flatten(0, 2) for each in (maps["student_cls"], oracle.input("teacher_cls"))
    )
    edges, other_edges = (
        each.permute(0, 2, 3, 1).flatten(0, 2).unflatten(1, (4, -1))
        for each in (maps["student_reg"], oracle.input("teacher_reg"))
    )
    main, region = oracle.input("labels").flatten() < logits.shape[1], oracle.input("vlr_region").flatten()
    weights = logits.detach().sigmoid().amax(1)[main]
    temperature, weight = oracle.hyper(case, "T_ld"), oracle.hyper(case, "weight_ld")
    assert weights.sum().item() == pytest.approx(float(oracle.values[f"{case}/out64/main_weight_sum"]))
    terms = {
        "main_ld": weight * localization_loss(edges[main], other_edges[main], weights, temperature) / 4,
        "vlr_ld": weight * localization_loss(edges, other_edges, region, temperature) / 16,
        "main_kd": oracle.hyper(case, "weight_kd")
        * soft_divergence(logits[main], other_logits[main], oracle.hyper(case, "T_kd")).mean(),
    }
    for term, value in terms.items():
        assert value.item() == pytest.approx(float(oracle.values[f"{case}/out64/{term}"]), rel=1e-5)
        gradients = torch.autograd.grad(value, list(maps.values()), retain_graph=True, allow_unused=True)
        for name, gradient in zip(maps, gradients, strict=True):
            norm = 0.0 if gradient is None else gradient.norm().item()
            assert norm == pytest.approx(float(oracle.values[f"{case}/gradnorm/{term}/{name}"]), rel=1e-4)
    oracle.check(case, "total", torch.stack(list(terms.values())).sum(), **maps)


@pytest.mark.parametrize("case", ["default", "sharp"])
def test_ld_of_rows(case: str) -> None:
    oracle = Oracle("ld")
    student = oracle.input("plain_student")
    rows = oracle.hyper(case, "weight_ld") * soft_divergence(
        student, oracle.input("plain_teacher"), oracle.hyper(case, "T_ld")
    )
    oracle.check(case, "plain_mean", rows.mean(), plain_student=student)


@pytest.mark.parametrize("case", ["default", "cifar"])
def test_dkd(case: str) -> None:
    oracle = Oracle("dkd")
    student = oracle.input("student_logits")
    temperature = oracle.hyper(case, "temperature")
    target, other = decoupled_kl(student, oracle.input("teacher_logits"), oracle.input("target"), temperature)
    total = oracle.hyper(case, "alpha") * target + oracle.hyper(case, "beta") * other
    for term, value in {"tckd": target, "nckd": other, "total": total}.items():
        student.grad = None
        gradient = torch.autograd.grad(value, student, retain_graph=True)[0]
        assert value.item() == pytest.approx(float(oracle.values[f"{case}/out64/{term}"]), rel=1e-5)
        expected = torch.from_numpy(oracle.values[f"{case}/grad/{term}/student_logits"]).double()
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("case", ["default", "small_anchors"])
def test_fgfi(case: str) -> None:
    oracle = Oracle("fgfi")
    student, teacher = oracle.input("student0"), oracle.input("teacher0")
    height, width = student.shape[2:]
    cells = torch.cartesian_prod(torch.arange(height), torch.arange(width)).flip(1).repeat(1, 2) * 16
    inclusive = torch.tensor([0, 0, 1, 1])  # the release counts the last pixel to a box
    anchors = (torch.from_numpy(oracle.values[f"{case}/out/base_anchors"]) + cells[:, None] + inclusive).flatten(0, 1)
    boxes = zip(oracle.input("gt_boxes"), oracle.input("num_gt"), strict=True)
    objects = [each[:count, :4] + inclusive for each, count in boxes]
    fraction = oracle.hyper(case, "iou_fraction")
    masks = imitation_masks({"16": anchors.double()}, objects, fraction, {"16": (height, width)})["16"]
    assert torch.equal(masks.long(), torch.from_numpy(oracle.values[f"{case}/out/mask"]).long())
    adapt = nn.Sequential(oracle.load(nn.Conv2d(8, 8, 3, padding=1), "param/adapter.0."), nn.ReLU())
    value = oracle.hyper(case, "loss_weight") * imitation_loss([adapt(student)], [teacher], [masks])
    oracle.check(case, "total", value, student0=student)


@pytest.mark.parametrize("case", ["default", "t4"])
def test_kd_detr(case: str) -> None:
    oracle = Oracle("kd_detr")
    students = {
        f"{group}_student_{kind}": oracle.input(f"{group}_student_{kind}")
        for group in ("random", "shared")
        for kind in ("logits", "boxes")
    }
    total = torch.zeros((), dtype=torch.float64)
    for group in ("random", "shared"):
        taught = Predictions(oracle.input(f"{group}_teacher_logits"), oracle.input(f"{group}_teacher_boxes"))
        layers = [
            query_loss(Predictions(logits, boxes), taught, oracle.hyper(case, "T"))
            for logits, boxes in zip(
                students[f"{group}_student_logits"], students[f"{group}_student_boxes"], strict=True
            )
        ]
        for part, term in {"classes": "cls", "boxes": "l1", "giou": "giou"}.items():
            value = torch.stack([layer[part] for layer in layers]).sum()
            for name, each in {term: value, f"last_layer_{term}": layers[-1][part]}.items():
                assert each.item() == pytest.approx(float(oracle.values[f"{case}/out64/{group}_{name}"]), rel=1e-5)
            total = total + oracle.hyper(case, f"weight_{term}") * value
    oracle.check(case, "total", total, **students)
