"""The transformer methods' losses by hand on tiny tensors, and every method on real detectors of both families."""

from __future__ import annotations

import math
import re
from copy import deepcopy
from itertools import permutations
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn

from detdistill.core.errors import UserError
from detdistill.detectors import build as build_detector
from detdistill.detectors.base import Detector, Taps
from detdistill.distill import build, find
from detdistill.distill.base import Distillation
from detdistill.distill.transformer.feature.clockdistill import location_and_scale, memory_loss
from detdistill.distill.transformer.feature.detrdistill_features import object_mask, query_quality
from detdistill.distill.transformer.feature.vkd import normalised_loss
from detdistill.distill.transformer.logit.d3etr import adaptive_losses, fixed_losses
from detdistill.distill.transformer.logit.detrdistill_logits import matched_losses
from detdistill.distill.transformer.logit.matched_logits import answering, score_divergence
from detdistill.distill.transformer.query.kd_detr import query_loss
from detdistill.distill.transformer.query_pairs import Predictions, match, pair_losses, paired_layers, predictions

LN2, LN3 = math.log(2), math.log(3)
SIZES: dict[str, Any] = {
    "widths": [8, 16],
    "neck_channels": 8,
    "hidden": 32,
    "heads": 2,
    "feedforward": 16,
    "decoder_layers": 2,
    "points": 2,
    "queries": 6,
}
FAMILIES = {
    "rt_detr": {**SIZES, "family": "rt_detr", "denoising": 4},
    "deformable_detr": {**SIZES, "family": "deformable_detr", "encoder_layers": 1, "dropout": 0.0},
}
TERMS = {"classes": 1.0, "boxes": 5.0, "giou": 2.0}
METHODS: dict[str, dict[str, Any]] = {
    "kd_detr": {**TERMS, "random_queries": 5},
    "detrdistill_queries": {"weight": 1.0},
    "detrdistill_features": {"weight": 1.0},
    "clockdistill": {"foreground": 1.0, "background": 0.5},
    "vkd": {"weight": 4.0},
    "detrdistill_logits": {**TERMS, "negatives": 0.5},
    "d3etr": TERMS,
    "matched_logits": {"weight": 1.0},
}
CASES = [(family, name) for family in FAMILIES for name in METHODS]
OF_PREDICTIONS = ["kd_detr", "detrdistill_logits", "d3etr"]


def detector(family: str, seed: int = 0, num_classes: int = tiny.K, **changes: Any) -> Detector:
    torch.manual_seed(seed)
    built = build_detector("transformers", {**FAMILIES[family], **changes}, num_classes, "student.yaml")
    with torch.no_grad():
        # Untrained box heads move nothing, so that all detectors would agree at shared queries.
        for parameter in built.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return built


def teacher(family: str, **changes: Any) -> Detector:
    """One of another trunk and one decoder layer more, in eval mode."""
    return detector(family, 1, **{"widths": [16, 32], "decoder_layers": 3, **changes}).eval()


def distillation(family: str, methods: dict[str, Any], own: Any = None, other: Any = None) -> Distillation:
    """Built as the command line does it."""
    return build(methods, {}, own or detector(family), other or teacher(family), "params/tiny/tried.yaml")


def queries(*rows: tuple[list[float], list[float]]) -> Predictions:
    """One image's queries, each (logits, box)."""
    logits, boxes = zip(*rows, strict=True)
    return Predictions(torch.tensor([logits], dtype=torch.float64), torch.tensor([boxes], dtype=torch.float64))


def random_predictions(seed: int, count: int = 5) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return Predictions(6 * draw(2, count, 3) - 3, torch.cat([draw(2, count, 2), 0.05 + 0.4 * draw(2, count, 2)], -1))


def shuffled(predictions: Predictions, order: list[int]) -> Predictions:
    return Predictions(*(each[:, order] for each in predictions))


# Side by side, of equal size: L1 distance 0.2, no overlap and no gap, so that GIoU is 0.
LEFT, RIGHT = [0.3, 0.5, 0.2, 0.4], [0.5, 0.5, 0.2, 0.4]


# What the 1e-7 beside GIoU's denominators leaves of 0 where boxes are small.
EPSILON = 1e-3


class TestQueryPairs:
    def test_pairs_differ_by_entropy_distance_and_overlap(self) -> None:
        own, other = queries(([0.0, 0.0], LEFT)), queries(([LN3, -LN3], RIGHT))
        losses = pair_losses(own, other, torch.ones(1, 1), {"classes": 2.0, "boxes": 5.0, "giou": 3.0})
        expected = {"classes": 2 * 2 * LN2, "boxes": 5 * 0.2, "giou": 3.0}
        assert {part: loss.item() for part, loss in losses.items()} == pytest.approx(expected)

    def test_means_are_weighted_by_importance(self) -> None:
        own = queries(([0.0], LEFT), ([0.0], LEFT))
        other = queries(([0.0], RIGHT), ([0.0], LEFT))
        (loss,) = pair_losses(own, other, torch.tensor([[1.0, 0.25]]), {"boxes": 1.0}).values()
        assert loss.item() == pytest.approx(0.2 / 1.25)

    def test_the_matching_has_the_least_sum_of_the_losses_themselves(self) -> None:
        own, other = random_predictions(0, 4), random_predictions(1, 5)
        weights = {"classes": 1.0, "boxes": 5.0, "giou": 2.0}
        rows, columns = match(own, other, weights)
        assert rows.shape == columns.shape == (2, 4)
        ones = torch.ones(1, 4)

        def total(image: int, order: tuple[int, ...]) -> float:
            one, two = (Predictions(*(each[[image]] for each in side)) for side in (own, other))
            return sum(
                loss.item() for loss in pair_losses(one, two.take(torch.tensor([order])), ones, weights).values()
            )

        for image in range(2):
            found = tuple(columns[image][rows[image].argsort()].tolist())
            assert total(image, found) == pytest.approx(min(total(image, each) for each in permutations(range(5), 4)))

    def test_boxes_without_area_and_predictions_that_are_not_numbers_are_matched_all_the_same(self) -> None:
        point = queries(([0.0], [0.5, 0.5, 0.0, 0.0]), ([float("nan")], [0.2, 0.2, 0.1, 0.1]))
        assert sorted(match(point, point, TERMS)[1].flatten().tolist()) == [0, 1]

    def test_layers_are_paired_from_the_last(self) -> None:
        assert paired_layers("012", "012345") == [("2", "5"), ("1", "4"), ("0", "3")]
        assert paired_layers("012", "0") == [("2", "0")]


class TestKDDETR:
    def test_by_hand(self) -> None:
        # softmax of (0, 2 ln 3) / 2 is (1/4, 3/4), against (1/2, 1/2); confidence s(2 ln 3) = 9/10.
        own, other = queries(([0.0, 0.0], LEFT)), queries(([0.0, 2 * LN3], RIGHT))
        losses = query_loss(own, other, temperature=2.0)
        divergence = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
        expected = {"classes": 0.9 * 4 * divergence / 2, "boxes": 0.2 / 4, "giou": 1.0}
        assert {part: loss.item() for part, loss in losses.items()} == pytest.approx(expected)

    def test_confident_queries_of_the_teacher_count_more(self) -> None:
        own = queries(([0.0], LEFT), ([0.0], LEFT))
        other = queries(([LN3], RIGHT), ([-LN3], LEFT))
        assert query_loss(own, other, 1.0)["boxes"].item() == pytest.approx(0.05 * 0.75)

    def test_it_is_zero_where_both_agree(self) -> None:
        same = random_predictions(0)
        assert [loss.item() for loss in query_loss(same, same, 10.0).values()] == pytest.approx([0, 0, 0], abs=EPSILON)

    def test_it_compares_query_by_query(self) -> None:
        own, other, order = random_predictions(0), random_predictions(1), [3, 1, 4, 0, 2]
        losses = query_loss(own, other, 10.0)
        together = query_loss(shuffled(own, order), shuffled(other, order), 10.0)
        apart = query_loss(shuffled(own, order), other, 10.0)
        for part, loss in losses.items():
            assert together[part].item() == pytest.approx(loss.item())
            assert apart[part].item() != pytest.approx(loss.item(), rel=1e-3)


class TestMatchedLogits:
    @pytest.mark.parametrize("losses", [matched_losses, adaptive_losses])
    def test_the_order_of_queries_does_not_matter(self, losses: Any) -> None:
        own, other = random_predictions(0), random_predictions(1)
        importance = [torch.ones(2, 5)] if losses is matched_losses else []
        expected = losses(own, other, *importance, TERMS)
        for one, two in (([3, 1, 4, 0, 2], range(5)), (range(5), [1, 0, 4, 2, 3])):
            found = losses(shuffled(own, list(one)), shuffled(other, list(two)), *importance, TERMS)
            assert {p: v.item() for p, v in found.items()} == pytest.approx({p: v.item() for p, v in expected.items()})

    def test_where_both_agree_the_boxes_are_done_and_the_classes_at_their_least(self) -> None:
        other = random_predictions(1)
        own = Predictions(*(each[:, [3, 1, 4, 0, 2]].clone().requires_grad_() for each in other))
        losses = matched_losses(own, other, torch.ones(2, 5), TERMS)
        assert [losses["boxes"].item(), losses["giou"].item()] == pytest.approx([0, 0], abs=EPSILON)
        losses["classes"].backward()
        assert own.logits.grad is not None
        torch.testing.assert_close(own.logits.grad, torch.zeros_like(own.logits))

    def test_negatives_count_as_much_as_they_are_said_to(self) -> None:
        own = queries(([0.0], LEFT), ([0.0], [0.8, 0.8, 0.1, 0.1]))
        other = queries(([0.0], [0.8, 0.7, 0.1, 0.1]), ([0.0], RIGHT))
        weights = {"boxes": 1.0}
        for negative, expected in ((1.0, (0.2 + 0.1) / 2), (0.5, (0.2 + 0.05) / 1.5), (0.0, 0.2)):
            losses = matched_losses(own, other, torch.tensor([[negative, 1.0]]), weights)
            assert losses["boxes"].item() == pytest.approx(expected)
        assert matched_losses(own, other, torch.zeros(1, 2), weights)["boxes"].item() == 0

    def test_fixed_matching_takes_the_order_as_it_is(self) -> None:
        own = queries(([0.0], LEFT), ([0.0], RIGHT))
        other = queries(([0.0], RIGHT), ([0.0], LEFT))
        assert fixed_losses(own, other, {"boxes": 1.0})["boxes"].item() == pytest.approx(0.2)
        assert adaptive_losses(own, other, {"boxes": 1.0})["boxes"].item() == pytest.approx(0)


class TestFeatures:
    def test_quality_is_the_best_score_times_the_best_overlap(self) -> None:
        logits = torch.tensor([[[LN3, 0.0], [0.0, -1.0]], [[0.0, LN3], [0.0, 0.0]]])
        boxes = torch.tensor([[[0.0, 0, 4, 4], [0, 0, 8, 4]], [[1.0, 1, 2, 2], [0, 0, 0, 0]]])
        objects = [torch.tensor([[0.0, 0, 4, 2], [0, 0, 4, 4]]), torch.zeros(0, 4)]
        torch.testing.assert_close(query_quality(logits, boxes, objects), torch.tensor([[0.75, 0.25], [0.75, 0.5]]))

    def test_the_mask_is_the_weighted_similarity_over_its_maximum(self) -> None:
        memory = torch.tensor([[2.0, 0.0], [0.0, 3.0]]).view(1, 2, 1, 2)  # pixels (2, 0) and (0, 3)
        looking = torch.tensor([[[5.0, 0.0], [0.0, 1.0]]])
        mask = object_mask(looking, torch.tensor([[0.8, 0.2]]), memory)
        assert mask.flatten().tolist() == pytest.approx([1, 0.25])
        assert object_mask(looking, torch.tensor([[0.8, 0.0]]), memory).flatten().tolist() == pytest.approx([1, 1 / 80])

    def test_the_order_of_queries_does_not_matter(self) -> None:
        memory, looking, quality = torch.rand(2, 4, 3, 3), torch.randn(2, 5, 4), torch.rand(2, 5)
        order = [3, 1, 4, 0, 2]
        shuffled_mask = object_mask(looking[:, order], quality[:, order], memory)
        torch.testing.assert_close(shuffled_mask, object_mask(looking, quality, memory))


class TestCLoCKDistill:
    def test_objects_weigh_alike_and_so_does_the_rest(self) -> None:
        # Cells of 4 pixels: an object over columns 0 to 1 and rows 0 to 1, a smaller one of one cell within it.
        boxes = [torch.tensor([[0.0, 1.0, 8.0, 7.0], [4.0, 4.0, 8.0, 8.0]]), torch.zeros(0, 4)]
        location, scale = location_and_scale(boxes, (16, 12), (4, 3))
        assert location[0, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]]
        assert scale[0, 0, :2, :2].tolist() == [[0.25, 0.25], [0.25, 1]]
        assert scale[0, 0, 2].tolist() == pytest.approx([1 / 8] * 3)
        assert location[1].sum() == 0
        assert scale[1].flatten().tolist() == pytest.approx([1 / 12] * 12)

    def test_objects_and_the_rest_have_a_term_each(self) -> None:
        own = detector("rt_detr").eval()
        method = find("clockdistill", "recipe.yaml")(own, own, foreground=2.0, background=3.0)
        shapes = {"4": (2, 32, 16, 16), "8": (2, 32, 8, 8)}
        student = Taps(image_size=(64, 64), memory={s: torch.ones(shape) for s, shape in shapes.items()})
        taught = Taps(memory={s: torch.zeros(shape) for s, shape in shapes.items()})
        objects = [{"boxes": torch.tensor([[8.0, 8, 28, 24]])}, {"boxes": torch.zeros(0, 4)}]
        # Of each level: 1 for the image with an object, and 1 for either image's background.
        terms = method(student, taught, objects)
        assert {part: term.item() for part, term in terms.items()} == pytest.approx(
            {"foreground": 2 * 2 * 0.5, "background": 3 * 2 * 1.0}
        )

    def test_an_object_without_area_has_one_cell(self) -> None:
        location, _ = location_and_scale([torch.tensor([[4.0, 4.0, 4.0, 4.0]])], (16, 16), (4, 4))
        assert location[0, 0].nonzero().tolist() == [[1, 1]]

    def test_the_error_is_a_mean_over_channels_and_a_sum_under_the_mask(self) -> None:
        student = torch.tensor([[1.0, 2.0], [3.0, 0.0]]).view(1, 2, 1, 2)
        assert memory_loss(student, torch.zeros_like(student), torch.tensor([1.0, 0.5]).view(1, 1, 1, 2)).item() == 6


class TestVkD:
    def test_channels_are_compared_at_equal_mean_and_deviation(self) -> None:
        # Normalised (unbiased): (-1, -1, 1, 1) * sqrt(3)/2 against its opposite: sqrt(3) apart, above 1.
        student = torch.tensor([1.0, 1, 5, 5], dtype=torch.float64).view(1, 1, 2, 2)
        assert normalised_loss(student, 9 - student).item() == pytest.approx(math.sqrt(3) - 0.5, rel=1e-5)
        assert normalised_loss(7 * student - 3, student).item() == pytest.approx(0, abs=1e-9)

    @pytest.mark.parametrize("hidden", [32, 64])
    def test_the_projection_stays_orthogonal_while_it_learns(self, hidden: int) -> None:
        built = distillation("rt_detr", {"vkd": {"weight": 4.0}}, other=teacher("rt_detr", hidden=hidden)).train()
        projections = built.methods["vkd"].projections
        before = projections["4"].weight.detach().clone()
        optimizer = torch.optim.SGD(projections.parameters(), lr=1.0)
        for _ in range(3):
            optimizer.zero_grad()
            built(*tiny.batch())["vkd.memory"].backward()
            optimizer.step()
        for projection in projections.values():
            torch.testing.assert_close(projection.weight.mT @ projection.weight, torch.eye(32), atol=1e-5, rtol=0)
        assert (projections["4"].weight - before).abs().max() > 1e-3

    def test_each_location_is_projected_by_itself(self) -> None:
        own, other = detector("rt_detr").eval(), teacher("rt_detr", hidden=64)
        method = find("vkd", "recipe.yaml")(own, other, weight=1.0)
        student, taught = observed(own, tiny.batch()[0]), observed(other, tiny.batch()[0])
        expected = [
            normalised_loss(torch.einsum("oc,nchw->nohw", projection.weight, student.memory[s]), taught.memory[s])
            for s, projection in method.projections.items()
        ]
        assert method(student, taught, [])["memory"].item() == pytest.approx(sum(expected).item(), rel=1e-5)


class TestMatchedScores:
    def test_the_divergence_is_of_each_class_by_itself(self) -> None:
        student, teacher = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[LN3, 0.0]], dtype=torch.float64)
        expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
        assert score_divergence(student, teacher).item() == pytest.approx(expected)
        rows = [each.expand(4, 2) for each in (student, teacher)]
        assert score_divergence(*rows).item() == pytest.approx(expected)
        assert score_divergence(student[:0], teacher[:0]).item() == 0

    def test_queries_are_found_by_their_object(self) -> None:
        matches = [(torch.tensor([4, 2]), torch.tensor([1, 0])), (torch.tensor([3]), torch.tensor([1]))]
        assert answering(matches, [2, 3], queries=5).tolist() == [2, 4, -1, 8, -1]

    def test_an_object_that_one_of_them_left_out_is_left_out(self, monkeypatch: Any) -> None:
        own, other = detector("rt_detr").eval(), teacher("rt_detr", decoder_layers=2)
        method = find("matched_logits", "recipe.yaml")(own, other, weight=1.0)
        images, targets = tiny.batch()
        student, taught = observed(own, images), observed(other, images)
        for each, objects in ((own, [0, 1]), (other, [1])):
            none = (torch.zeros(0, dtype=torch.int64),) * 2
            matches = [none, (torch.tensor([3, 4])[objects], torch.tensor(objects))]
            monkeypatch.setattr(each, "match", lambda *_, matches=matches: matches)
        expected = sum(
            score_divergence(student.query_logits[layer][1, 4:5], taught.query_logits[layer][1, 4:5])
            for layer in ("0", "1")
        )
        assert method(student, taught, targets)["classes"].item() == pytest.approx(expected.item(), rel=1e-5)

    def test_both_queries_of_an_object_are_compared_whatever_their_place(self, monkeypatch: Any) -> None:
        own, other = detector("rt_detr").eval(), teacher("rt_detr", decoder_layers=2)
        method = find("matched_logits", "recipe.yaml")(own, other, weight=2.0)
        images, targets = tiny.batch()
        student, taught = observed(own, images), observed(other, images)
        pairs = {own: [(0, 3), (1, 5), (1, 2)], other: [(0, 1), (1, 0), (1, 4)]}  # image and query of each object
        for each, found in pairs.items():
            (a, b, c) = (torch.tensor([query]) for _, query in found)
            matches = [(a, torch.tensor([0])), (torch.cat([c, b]), torch.tensor([1, 0]))]
            monkeypatch.setattr(each, "match", lambda *_, matches=matches: matches)
        expected = 0.0
        for layer in ("0", "1"):
            rows = [
                torch.stack([tap[layer][image, query] for image, query in pairs[each]])
                for each, tap in ((own, student.query_logits), (other, taught.query_logits))
            ]
            expected += 2 * score_divergence(*rows).item()
        assert method(student, taught, targets)["classes"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("family", "name"), CASES)
class TestEveryMethod:
    def test_its_gradients_reach_the_student_and_its_own_parameters_only(self, family: str, name: str) -> None:
        built = distillation(family, {name: METHODS[name]}).train()
        images, targets = tiny.batch()
        losses = built(images, targets)
        terms = [value for term, value in losses.items() if term.startswith(f"{name}.")]
        assert terms
        assert all(value.shape == () and value.isfinite() and value > 0 for value in terms)
        torch.stack(terms).sum().backward()
        assert any(p.grad is not None and p.grad.any() for p in built.student.parameters())
        assert all(p.grad is not None and p.grad.any() for p in built.methods.parameters())
        assert all(p.grad is None for p in built.teacher.parameters())

    def test_an_image_without_objects_is_fine(self, family: str, name: str) -> None:
        built = distillation(family, {name: METHODS[name]}).train()
        images, targets = tiny.batch(3)
        losses = built(images[2:] * 2, targets[2:] * 2)
        torch.stack(list(losses.values())).sum().backward()
        assert all(value.isfinite() for value in losses.values())
        assert all(p.grad is None or p.grad.isfinite().all() for p in built.parameters())

    def test_each_weight_switches_its_term(self, family: str, name: str) -> None:
        weights = [part for part in METHODS[name] if part not in {"random_queries", "negatives", "weight"}]
        images, targets = tiny.batch()
        for part in weights:
            values = {**METHODS[name], **{other: 0.0 for other in weights if other != part}}
            terms = [term for term in distillation(family, {name: values})(images, targets) if term.startswith(name)]
            assert {term.rpartition("_")[2].rpartition(".")[2] for term in terms} == {part}
        if not weights:
            once, twice = (distillation(family, {name: {"weight": w}})(images, targets) for w in (1.0, 2.0))
            terms = [term for term in once if term.startswith(name)]
            assert terms
            assert [twice[t].item() for t in terms] == pytest.approx([2 * once[t].item() for t in terms], rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
class TestRecipes:
    def test_one_of_each_level_trains_and_leaves_the_teacher_as_it_is(self, family: str) -> None:
        recipe = {name: METHODS[name] for name in ("kd_detr", "clockdistill", "detrdistill_logits")}
        other = teacher(family, hidden=32)
        before = deepcopy(other.state_dict())
        built = distillation(family, recipe, other=other).train()
        optimizer = torch.optim.SGD(built.parameters(), lr=1e-3)
        images, targets = tiny.batch(3)
        first = {name: p.clone() for name, p in built.student.named_parameters()}
        losses = built(images, targets)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        assert {name.partition(".")[0] for name in losses if "." in name} >= set(recipe)
        assert any(not torch.equal(first[name], p) for name, p in built.student.named_parameters())
        assert all(torch.equal(before[name], each) for name, each in built.teacher.state_dict().items())

    def test_the_teachers_queries_bring_the_teachers_assignment(self, family: str) -> None:
        own, other = detector(family).eval(), teacher(family)
        method = find("detrdistill_queries", "recipe.yaml")(own, other, weight=2.0)
        images, targets = tiny.batch()
        student, taught = observed(own, images), observed(other, images)
        matches = other.match(taught, targets, "2")
        expected = own.set_loss(own.decode(student, taught.initial_queries), targets, matches)
        found = method(student, taught, targets)["queries"]
        assert found.item() == pytest.approx(2 * sum(value.item() for value in expected.values()), rel=1e-5)

    def test_every_student_layer_learns_the_teachers_last(self, family: str) -> None:
        own, other = detector(family).eval(), teacher(family)
        method = find("kd_detr", "recipe.yaml")(own, other, **{**METHODS["kd_detr"], "random_queries": 0})
        images, targets = tiny.batch()
        student, taught = observed(own, images), observed(other, images)
        decoded = own.decode(student, taught.initial_queries)
        last = predictions(taught, "2")
        expected = sum(query_loss(predictions(decoded, layer), last, 10.0)["boxes"].item() for layer in ("0", "1"))
        assert method(student, taught, targets)["boxes"].item() == pytest.approx(5 * expected, rel=1e-5)

    def test_the_foreground_is_what_the_teachers_matching_says(self, family: str) -> None:
        own, other = detector(family).eval(), teacher(family)
        method = find("detrdistill_logits", "recipe.yaml")(own, other, **TERMS, negatives=0.25)
        images, targets = tiny.batch()
        student, taught = observed(own, images), observed(other, images)
        expected = dict.fromkeys(TERMS, 0.0)
        for one, two in (("1", "2"), ("0", "1")):
            importance = torch.full((2, 6), 0.25)
            for image, (chosen, _) in zip(importance, other.match(taught, targets, two), strict=True):
                image[chosen] = 1.0
            losses = matched_losses(predictions(student, one), predictions(taught, two), importance, TERMS)
            expected = {part: value + losses[part].item() for part, value in expected.items()}
        found = method(student, taught, targets)
        assert {part: value.item() for part, value in found.items()} == pytest.approx(expected, rel=1e-5)

    def test_random_queries_are_drawn_anew_and_none_are_if_none_are_asked_for(self, family: str) -> None:
        own, other = detector(family).eval(), teacher(family)
        images, targets = tiny.batch()
        student, taught = observed(own, images), observed(other, images)
        kd_detr = find("kd_detr", "recipe.yaml")
        for count, same in ((5, False), (0, True)):
            method = kd_detr(own, other, **{**METHODS["kd_detr"], "random_queries": count})
            one, two = (method(student, taught, targets)["boxes"].item() for _ in range(2))
            assert (one == two) is same

    def test_wider_memory_is_met_by_an_adapter(self, family: str) -> None:
        other = teacher(family, hidden=64)
        for name in ("clockdistill", "detrdistill_features"):
            built = distillation(family, {name: METHODS[name]}, other=other)
            assert {type(module) for module in built.methods[name].adapters.values()} == {nn.Conv2d}
            images, targets = tiny.batch()
            assert all(value.isfinite() for value in built(images, targets).values())
        for name in ("kd_detr", "detrdistill_queries", "d3etr"):
            message = refused(family, {name: METHODS[name]}, other=other)
            assert f"methods.{name}: queries: the student's have 32 channels, the teacher's 64" in message
        distillation(family, {"d3etr": {**TERMS, "fixed": 0.0}}, other=other)

    def test_a_teacher_of_fewer_queries(self, family: str) -> None:
        message = refused(
            family, {"detrdistill_logits": METHODS["detrdistill_logits"]}, other=teacher(family, queries=5)
        )
        assert "methods.detrdistill_logits: queries: the student asks for 6, the teacher has 5" in message

    @pytest.mark.parametrize("name", METHODS)
    def test_other_classes(self, family: str, name: str) -> None:
        message = refused(family, {name: METHODS[name]}, other=teacher(family, num_classes=7))
        assert f"methods.{name}: the student has 3 classes, the teacher 7" in message

    @pytest.mark.parametrize("name", OF_PREDICTIONS)
    def test_all_parts_off(self, family: str, name: str) -> None:
        off = {**METHODS[name], **dict.fromkeys(TERMS, 0.0)}
        assert "at least one weight must be above 0: classes, boxes, giou" in refused(family, {name: off})


@pytest.mark.parametrize(
    ("family", "name", "layers"),
    [
        # KD-DETR's earlier layers learn from the teacher's last, which they are not.
        ("rt_detr", "kd_detr", 1),
        *((family, name, 2) for family in FAMILIES for name in ("detrdistill_features", "clockdistill", "d3etr")),
        *((family, "matched_logits", 2) for family in FAMILIES),
    ],
)
def test_a_student_that_is_the_teacher_has_nothing_to_learn(family: str, name: str, layers: int) -> None:
    other = teacher(family, decoder_layers=layers)
    values = {**METHODS[name], **({"classes": 0.0} if name == "d3etr" else {})}
    method = find(name, "recipe.yaml")(deepcopy(other), other, **values)
    images, targets = tiny.batch()
    taps = observed(other, images)
    terms = method(taps, taps, targets)
    assert {term: value.item() for term, value in terms.items()} == pytest.approx(
        dict.fromkeys(terms, 0.0), abs=EPSILON
    )


def observed(each: Detector, images: list[Tensor]) -> Taps:
    with torch.no_grad():
        return each.eval().observe(images, each.taps)


def refused(family: str, methods: dict[str, Any], **how: Any) -> str:
    with pytest.raises(UserError) as error:
        distillation(family, methods, **how)
    assert str(error.value).startswith("params/tiny/tried.yaml: ")
    return str(error.value)


@pytest.mark.parametrize("name", METHODS)
def test_a_convolutional_pair_has_not_what_a_transformer_method_needs(name: str) -> None:
    own, other = tiny.detector("retinanet"), tiny.teacher("retinanet")
    message = refused("retinanet", {name: METHODS[name]}, own=own, other=other)
    assert re.search(rf"methods.{name}: the student RetinaNetDetector has no .*(memory|query_logits)", message)


@pytest.mark.parametrize("name", ["crosskd", "chen", "mimic", "dkd"])
def test_a_transformer_pair_has_not_what_a_convolutional_method_needs(name: str) -> None:
    message = refused("rt_detr", {name: tiny.METHODS[name]})
    assert re.search(rf"methods.{name}: the student RTDetrDetector has no (head|rpn|roi|anchor)", message)


@pytest.mark.parametrize("name", ["fitnets", "pkd"])
def test_methods_of_feature_maps_work_unchanged(name: str) -> None:
    built = distillation("rt_detr", {name: tiny.METHODS[name]}, other=teacher("rt_detr", neck_channels=12)).train()
    torch.stack(list(built(*tiny.batch()).values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in built.methods.parameters())


def test_queries_with_and_without_learned_positions_are_not_shared() -> None:
    other = teacher("deformable_detr")
    message = refused("rt_detr", {"kd_detr": METHODS["kd_detr"]}, other=other)
    assert "queries: only the teacher's have learned positions" in message
    message = refused("deformable_detr", {"kd_detr": METHODS["kd_detr"]}, other=teacher("rt_detr"))
    assert "queries: only the student's have learned positions" in message
    built = distillation("rt_detr", {"detrdistill_logits": METHODS["detrdistill_logits"]}, other=other)
    assert all(value.isfinite() for value in built(*tiny.batch()).values())


def test_a_negative_number_of_random_queries() -> None:
    message = refused("rt_detr", {"kd_detr": {**METHODS["kd_detr"], "random_queries": -1}})
    assert "methods.kd_detr: random_queries: input should be greater than or equal to 0, found -1" in message
