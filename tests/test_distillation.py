"""A recipe as a module: the teacher stays apart, the native losses stay native, and misuse is one clear sentence."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
import tiny
import torch

from detdistill.core.errors import UserError
from detdistill.detectors.base import Detector


def digest(detector: Detector) -> str:
    state = detector.model.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


ONLY_ROIS = {"mimic", "dkd", "defeat_proposals", "wkd"}
"""They look at no level of the pyramid."""
RECIPES = {
    "faster_rcnn": {name: tiny.METHODS[name] for name in ("fitnets", "pkd", "fgd", "chen", "mimic", "dkd")},
    "retinanet": {name: tiny.METHODS[name] for name in ("pkd", "crosskd")},
}


@pytest.mark.parametrize("family", RECIPES)
class TestTeacherIsolation:
    def test_training_changes_student_and_adapters_but_no_byte_of_the_teacher(self, family: str) -> None:
        distillation = tiny.distillation(family, RECIPES[family]).train()
        images, targets = tiny.batch(3)
        optimizer = torch.optim.SGD(distillation.parameters(), lr=1e-3)
        before = digest(distillation.teacher), digest(distillation.student)
        adapters = [parameter.clone() for parameter in distillation.methods.parameters()]
        for _ in range(2):
            optimizer.zero_grad()
            torch.stack(list(distillation(images, targets).values())).sum().backward()
            optimizer.step()
        assert digest(distillation.teacher) == before[0]
        assert digest(distillation.student) != before[1]
        after = list(distillation.methods.parameters())
        assert any(not torch.equal(old, new) for old, new in zip(adapters, after, strict=True))
        assert all(
            parameter.grad is None and not parameter.requires_grad for parameter in distillation.teacher.parameters()
        )

    def test_the_teacher_is_in_no_state_and_no_parameters(self, family: str) -> None:
        distillation = tiny.distillation(family, RECIPES[family])
        teachers = {id(tensor) for tensor in (*distillation.teacher.parameters(), *distillation.teacher.buffers())}
        own = (*distillation.parameters(), *distillation.buffers(), *distillation.state_dict(keep_vars=True).values())
        assert not teachers & {id(tensor) for tensor in own}
        assert not [name for name in distillation.state_dict() if "teacher" in name and "teacher_context" not in name]

    def test_the_teacher_stays_in_eval_mode_and_follows_to_a_device(self, family: str) -> None:
        distillation = tiny.distillation(family, RECIPES[family]).train().double()
        assert not any(module.training for module in distillation.teacher.modules())
        assert {parameter.dtype for parameter in distillation.teacher.parameters()} == {torch.float64}

    def test_native_losses_are_those_of_the_plain_student_to_the_bit(self, family: str) -> None:
        images, targets = tiny.batch(3)
        plain = tiny.detector(family).train()
        torch.manual_seed(5)
        expected, _ = plain.training_step(images, targets)
        distillation = tiny.distillation(family, RECIPES[family]).train()
        torch.manual_seed(5)
        losses = distillation(images, targets)
        assert {name: losses[name].item() for name in expected} == {n: loss.item() for n, loss in expected.items()}
        assert {name.partition(".")[0] for name in losses.keys() - expected.keys()} == set(RECIPES[family])

    def test_the_teacher_draws_no_random_number(self, family: str) -> None:
        distillation = tiny.distillation(family, RECIPES[family])
        images, targets = tiny.batch()
        rois = [target["boxes"] for target in targets]
        wanted = frozenset(distillation.teacher.taps) - {"anchor_labels", "anchor_targets", "roi_labels", "roi_targets"}
        before = torch.get_rng_state()
        distillation.teacher.observe(images, wanted, rois)
        assert torch.equal(torch.get_rng_state(), before)


def refused(family: str, methods: dict[str, dict[str, Any]], **how: Any) -> str:
    with pytest.raises(UserError) as error:
        tiny.distillation(family, methods, **how)
    return str(error.value)


class TestMisuse:
    """All found before any step, and said with the file and the field."""

    @pytest.mark.parametrize(
        ("family", "methods", "expected"),
        [
            ("faster_rcnn", {"pdk": {"weight": 1.0}}, r"methods: no method 'pdk'; did you mean '(pkd|dkd)'\?"),
            ("faster_rcnn", {"pkd": {}}, "methods.pkd: 'weight' is missing"),
            ("faster_rcnn", {"pkd": {"weight": 0.0}}, "methods.pkd: weight: input should be greater than 0, found 0.0"),
            ("faster_rcnn", {"pkd": {"weight": float("nan")}}, "methods.pkd: weight: .*found nan"),
            ("faster_rcnn", {"pkd": {"weight": "6"}}, "methods.pkd: weight: .*valid number, found '6'"),
            ("faster_rcnn", {"pkd": {"wieght": 1.0, "weight": 1.0}}, "methods.pkd: .*'wieght'; did you mean 'weight'"),
            ("faster_rcnn", {"chen": {"rpn_classes": 1.0}}, "methods.chen: 'rpn_boxes' is missing"),
            ("faster_rcnn", {}, "methods: a distilled run needs at least one"),
            ("retinanet", {"cwd_head": {"weight": 1.0, "temperature": 0.0}}, "methods.cwd_head: temperature: .*than 0"),
            ("faster_rcnn", {"fgfi": {"weight": 1.0, "fraction": 1.0}}, "methods.fgfi: fraction: .*less than 1"),
            ("retinanet", {"crosskd": {**tiny.METHODS["crosskd"], "overlap": "diou"}}, "methods.crosskd: overlap: "),
            (
                "faster_rcnn",
                {"crosskd": tiny.METHODS["crosskd"]},
                "the student FasterRCNNDetector has no head_box_features, head_cls_features, head_deltas, head_logits",
            ),
            (
                "retinanet",
                {"mimic": {"weight": 1.0}},
                "methods.mimic: the student RetinaNetDetector has no roi_boxes, roi_maps; it has ",
            ),
        ],
    )
    def test_a_wrong_recipe(self, family: str, methods: dict[str, dict[str, Any]], expected: str) -> None:
        message = refused(family, methods)
        assert message.startswith("params/tiny/tried.yaml: ")
        assert re.search(expected, message), message

    def test_other_classes(self) -> None:
        message = refused("faster_rcnn", {"pkd": {"weight": 1.0}}, other=tiny.teacher("faster_rcnn", num_classes=7))
        assert "the student has 3 classes, the teacher 7" in message

    @pytest.mark.parametrize("name", [name for name in tiny.METHODS if name not in tiny.NEEDS_DENSE_HEAD | ONLY_ROIS])
    def test_other_strides(self, name: str) -> None:
        deeper = tiny.teacher("faster_rcnn", widths=[16, 32, 32], anchors=[[12.0], [22.0], [40.0]])
        message = refused("faster_rcnn", {name: tiny.METHODS[name]}, other=deeper)
        assert "the student's strides are 4, 8, the teacher's 4, 8, 16" in message

    @pytest.mark.parametrize("name", ["chen", "gid", "frs_rpn", *sorted(tiny.NEEDS_DENSE_HEAD - tiny.NEEDS_EDGES)])
    def test_other_anchors(self, name: str) -> None:
        family = "retinanet" if name in tiny.NEEDS_DENSE_HEAD else "faster_rcnn"
        other = tiny.teacher(family, aspect_ratios=[0.5, 1.0])
        message = refused(family, {name: tiny.METHODS[name]}, other=other)
        assert "at stride 4: the student has 256 anchors, the teacher 512" in message

    def test_other_bins(self) -> None:
        message = refused("gfl", {"ld": tiny.METHODS["ld"]}, other=tiny.teacher("gfl", bins=8))
        assert (
            "head_edges at stride 4: the student has 256 x 4 x 17 logits of edges, the teacher 256 x 4 x 9" in message
        )

    def test_no_edges(self) -> None:
        message = refused("retinanet", {"ld": tiny.METHODS["ld"]})
        assert "methods.ld: the student RetinaNetDetector has no head_edges" in message

    @pytest.mark.parametrize("name", ["mimic", "wkd"])
    def test_other_pooled_size(self, name: str) -> None:
        message = refused("faster_rcnn", {name: {"weight": 1.0}}, other=tiny.teacher("faster_rcnn", roi_size=4))
        assert "roi_maps: the student has 3 x 3 pooled cells, the teacher 4 x 4" in message

    def test_all_parts_off(self) -> None:
        off = dict.fromkeys(tiny.METHODS["chen"], 0.0)
        assert "at least one weight must be above 0: rpn_classes, rpn_boxes" in refused("faster_rcnn", {"chen": off})

    @pytest.mark.parametrize("strides", [[], [4, 32]])
    def test_a_stage_that_is_not_there(self, strides: list[int]) -> None:
        message = refused("faster_rcnn", {"fitnets": {"weight": 1.0, "strides": strides}})
        assert f"strides: {strides} found, the backbones have 4, 8" in message
