"""Each distillation loss against its published definition, worked out by hand on tiny tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from torch import Tensor, nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder

from detdistill.core.errors import UserError
from detdistill.detectors.base import Detector, Taps, Target
from detdistill.distill import find
from detdistill.distill.base import STUDENT_ONLY, inside
from detdistill.distill.cnn.backbone.attention_transfer import attention_loss as attention_transfer
from detdistill.distill.cnn.backbone.fgfi import imitation_loss, imitation_masks, near_objects
from detdistill.distill.cnn.backbone.fitnets import hint_loss
from detdistill.distill.cnn.head.bckd import disputed_box_loss
from detdistill.distill.cnn.head.crosskd import (
    box_loss,
    centerness,
    decode,
    edge_loss,
    iou_loss,
    quality_loss,
    restandardize,
)
from detdistill.distill.cnn.head.cwd_head import class_maps
from detdistill.distill.cnn.head.ld import localization_loss, soft_divergence, valuable_region
from detdistill.distill.cnn.neck.cwd import channel_loss
from detdistill.distill.cnn.neck.defeat import on_level, region_loss
from detdistill.distill.cnn.neck.fgd import GcBlock, attention, attention_loss, context_loss, focal_loss, object_masks
from detdistill.distill.cnn.neck.frs import rich_losses, richness
from detdistill.distill.cnn.neck.mgd import masked_generation_loss
from detdistill.distill.cnn.neck.pkd import pearson_loss
from detdistill.distill.cnn.neck.reviewkd import Fusion
from detdistill.distill.cnn.neck.reviewkd import context_loss as hierarchical_loss
from detdistill.distill.cnn.rpn_roi.chen import bounded_loss, sampling_chance, soft_class_loss, soft_objectness_loss
from detdistill.distill.cnn.rpn_roi.defeat_proposals import divergence
from detdistill.distill.cnn.rpn_roi.dkd import decoupled_kl
from detdistill.distill.cnn.rpn_roi.gid import feature_loss as instance_loss
from detdistill.distill.cnn.rpn_roi.gid import general_instances, of_instances, relation_loss
from detdistill.distill.cnn.rpn_roi.mimic import mimic_loss
from detdistill.distill.cnn.rpn_roi.wkd import moments, wasserstein_loss

LN2 = math.log(2)


def feature(*values: float) -> Tensor:
    """A 2 x 2 map of one channel and one image."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 2, 2)


def logits_of(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


class TestAttentionTransfer:
    def test_maps_are_compared_at_length_one(self) -> None:
        # Sums of squares (3, 0, 0, 4) and (0, 0, 0, 1) have lengths 5 and 1: (3/5, 0, 0, -1/5) apart.
        student = torch.cat([feature(math.sqrt(3), 0, 0, 0), feature(0, 0, 0, -2)], dim=1)
        assert attention_transfer(student, feature(0, 0, 0, 7)).item() == pytest.approx((9 + 1) / 25 / 4)

    def test_the_scale_and_number_of_channels_do_not_matter(self) -> None:
        teacher = torch.rand(2, 3, 4, 4)
        assert attention_transfer(-5 * teacher.repeat(1, 2, 1, 1), teacher).item() == pytest.approx(0, abs=1e-12)


class TestFGFI:
    def test_the_best_anchor_of_an_object_sets_the_threshold(self) -> None:
        anchors = torch.tensor([[0.0, 0, 4, 4], [2, 0, 6, 4], [3, 0, 7, 4], [20, 20, 24, 24]])
        objects = torch.tensor([[0.0, 0, 4, 5], [21, 20, 25, 24]])
        # IoU with the first: 16/20, 8/28, 4/32; with the second, 12/20 alone.
        assert near_objects(anchors, objects, 0.5).tolist() == [True, False, False, True]
        assert near_objects(anchors, objects, 0.3).tolist() == [True, True, False, True]
        assert near_objects(anchors, objects[:0], 0.5).tolist() == [False] * 4

    def test_an_object_belongs_to_the_stages_whose_anchors_fit_it(self) -> None:
        cells = torch.tensor([[4.0 * x, 4.0 * y, 4.0 * x + 4, 4.0 * y + 4] for y in range(2) for x in range(3)])
        # Two anchors a cell, the second far away, and one of stride 8.
        anchors = {"4": torch.stack([cells, cells + 90], dim=1).flatten(0, 1), "8": torch.tensor([[0.0, 0, 8, 8]])}
        objects = [torch.tensor([[4.0, 4, 8, 8]]), torch.tensor([[0.0, 0, 8, 8]])]
        masks = imitation_masks(anchors, objects, 0.5, {"4": (2, 3), "8": (1, 1)})
        assert masks["4"][:, 0].long().tolist() == [[[0, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 0]]]
        assert masks["8"].flatten().tolist() == [False, True]

    def test_all_stages_share_one_divisor(self) -> None:
        masks = [feature(1, 0, 0, 1), feature(0, 0, 1, 0)]
        student = [feature(1, 9, 9, 2), feature(9, 9, 4, 9)]
        zeros = [torch.zeros(1, 1, 2, 2)] * 2
        assert imitation_loss(student, zeros, masks).item() == pytest.approx((1 + 4 + 16) / (2 * 3))
        assert imitation_loss(student, zeros, zeros).item() == 0


def test_fitnets_is_the_mean_squared_error() -> None:
    assert hint_loss(feature(1, 2, 3, 4), feature(1, 0, 3, 0)).item() == 5.0


class TestPKD:
    def test_opposite_maps_have_correlation_minus_one(self) -> None:
        # r = -1 and n = 4, so (n - 1) / n * (1 - r) = 1.5; the 1e-6 beside the deviation shows in the sixth digit.
        assert pearson_loss(feature(1, 2, 3, 4), feature(4, 3, 2, 1)).item() == pytest.approx(1.5, rel=1e-5)

    def test_shift_and_scale_of_a_channel_do_not_matter(self) -> None:
        teacher = feature(1, 2, 3, 4)
        assert pearson_loss(10 * teacher - 7, teacher).item() == pytest.approx(0, abs=1e-10)

    def test_a_constant_channel_has_finite_gradients(self) -> None:
        student = feature(1, 1, 1, 1).requires_grad_()
        pearson_loss(student, feature(1, 2, 3, 4)).backward()
        assert student.grad is not None
        assert student.grad.isfinite().all()


def test_cwd_is_the_divergence_of_spatial_distributions() -> None:
    # KL(p || uniform) = ln 4 - H(p) = 0.25 ln 2 at p = (1/2, 1/4, 1/8, 1/8); tau = 2 halves the features, times tau^2.
    p = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64).view(1, 1, 2, 2)
    assert channel_loss(feature(0, 0, 0, 0), p.log(), 1.0).item() == pytest.approx(LN2 / 4)
    assert channel_loss(feature(0, 0, 0, 0), 2 * p.log(), 2.0).item() == pytest.approx(LN2)
    # Of this p, KL(uniform || p) is the same; of the next it is not.
    p = torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64).view(1, 1, 2, 2)
    expected = math.log(4) + 0.7 * math.log(0.7) + 0.3 * math.log(0.1)
    assert channel_loss(feature(0, 0, 0, 0), p.log(), 1.0).item() == pytest.approx(expected)


def test_mgd_zeroes_pixels_above_the_kept_share() -> None:
    uniform = feature(0.1, 0.9, 0.5, 0.6)
    loss = masked_generation_loss(feature(3, 3, 3, 3), feature(1, 1, 1, 1), nn.Identity(), uniform, removed=0.5)
    assert loss.item() == 2 * (3 - 1) ** 2 + 2 * (0 - 1) ** 2


class TestFGD:
    def test_objects_cover_rows_of_y_and_columns_of_x(self) -> None:
        # Cells of 4 pixels: columns 1 to 2, rows 0 to 1, four cells; the smaller object within covers one cell more.
        boxes = [torch.tensor([[5.0, 0.0, 7.0, 3.0], [0.0, 12.0, 0.0, 12.0]]), torch.zeros(0, 4)]
        foreground, background = object_masks(boxes, (16, 12), (4, 3))
        assert foreground[0, 0].tolist() == [[0, 0.25, 0.25], [0, 0.25, 0.25], [0, 0, 0], [1, 0, 0]]
        assert background[0, 0, 2].tolist() == pytest.approx([1 / 7] * 3)
        assert background[0, 0, 0].tolist() == pytest.approx([1 / 7, 0, 0])
        assert foreground[1].sum() == 0
        assert background[1].flatten().tolist() == pytest.approx([1 / 12] * 12)

    def test_the_smallest_object_over_a_cell_decides(self) -> None:
        boxes = [torch.tensor([[0.0, 0.0, 15.0, 15.0], [4.0, 4.0, 4.0, 4.0]])]
        foreground, _ = object_masks(boxes, (16, 16), (4, 4))
        assert foreground[0, 0, 1, 1] == 1
        assert foreground[0, 0, 2, 2] == pytest.approx(1 / 25)

    def test_attention_is_a_scaled_softmax_of_mean_magnitude(self) -> None:
        spatial, channel = attention(feature(-0.5 * math.log(3), 0, 0, 0), temperature=0.5)
        assert spatial.flatten().tolist() == pytest.approx([2, 2 / 3, 2 / 3, 2 / 3])
        assert channel.flatten().tolist() == [1]

    def test_attention_loss(self) -> None:
        assert attention_loss(feature(0, 0, 0, 0), feature(0.5 * math.log(3), 0, 0, 0), 0.5).item() == pytest.approx(2)

    def test_focal_loss_weighs_by_mask_and_the_teachers_attention(self) -> None:
        teacher, mask = feature(0.5 * math.log(3), 0, 0, 0), feature(0.5, 0.25, 0, 0)
        student = teacher + feature(1, 2, 3, 4)
        assert focal_loss(student, teacher, mask, 0.5).item() == pytest.approx(0.5 * 2 * 1 + 0.25 * 2 / 3 * 4)

    def test_channels_weigh_by_the_teachers_attention_too(self) -> None:
        # Mean magnitudes of ln 3 and 0 over t: two channels of attention 3/2 and 1/2, four pixels of 1.
        teacher = torch.cat([feature(*[0.5 * math.log(3)] * 4), feature(0, 0, 0, 0)], dim=1)
        student = teacher + torch.cat([feature(1, 1, 1, 1), feature(0, 0, 0, 0)], dim=1)
        assert focal_loss(student, teacher, feature(1, 1, 1, 1), 0.5).item() == pytest.approx(4 * 1.5)
        assert attention_loss(0 * teacher, teacher, 0.5).item() == pytest.approx(0.5 + 0.5)

    def test_the_context_block_starts_as_the_identity(self) -> None:
        features = torch.rand(2, 4, 3, 3)
        assert torch.equal(GcBlock(4)(features), features)
        assert context_loss(features + 1, features).item() == pytest.approx(36)

    @pytest.mark.parametrize("slice_", sorted(Path("params").glob("*/retinanet_r*/fgd.yaml")), ids=str)
    def test_retinanet_has_the_weights_of_the_released_configs(self, slice_: Path) -> None:
        published = {"foreground": 1e-3, "background": 5e-4, "attention": 5e-4, "context": 5e-6}
        assert yaml.safe_load(slice_.read_text())["methods"]["fgd"] == published

    def test_the_context_is_one_weighted_mean_for_all_pixels(self) -> None:
        block = GcBlock(2)
        nn.init.zeros_(block.mask.weight)
        block.transform = nn.Sequential(nn.Identity())
        features = torch.rand(1, 2, 2, 2)
        torch.testing.assert_close(block(features), features + features.mean((2, 3), keepdim=True))


class TestDeFeat:
    def test_an_object_lies_on_the_level_of_its_size(self) -> None:
        # Sides of 30, 50, 40, 900 and 0: log2(1.5) = 0.6, log2(2.5) = 1.3, log2(2) = 1, ...
        boxes = torch.tensor([[0.0, 0, 30, 30], [0, 0, 50, 50], [0, 0, 8, 200], [0, 0, 900, 900], [5, 5, 5, 5]])
        assert [len(on_level(boxes, level, 3, 20.0)) for level in range(3)] == [2, 2, 1]
        assert on_level(boxes, 1, 3, 20.0).tolist() == boxes[1:3].tolist()
        assert on_level(boxes, 0, 3, None) is boxes

    def test_cells_are_counted_from_floor_to_floor_but_one_at_least(self) -> None:
        # Cells of 4 pixels: rows 1 to 2 and columns 0 to 1 of the first, a cell each of two that are smaller.
        boxes = torch.tensor([[0.0, 7.0, 9.0, 13.0], [9.0, 1.0, 10.0, 2.0], [12.0, 16.0, 12.0, 16.0]])
        mask = inside(boxes, (16, 12), (4, 3))
        assert mask.long().tolist() == [[0, 0, 1], [1, 1, 0], [1, 1, 0], [0, 0, 1]]
        assert not inside(boxes[:0], (16, 12), (4, 3)).any()

    def test_each_region_is_a_mean_of_its_own(self) -> None:
        student = torch.cat([feature(1, 2, 3, 4), feature(0, 0, 5, 0)], dim=1)
        mask = feature(1, 0, 1, 0)
        assert region_loss(student, torch.zeros_like(student), mask).item() == pytest.approx((1 + 9 + 25) / (2 * 2 * 2))
        assert region_loss(student, student + 1, 0 * mask).item() == 0

    def test_levels_are_averaged_and_an_object_counts_on_its_own_alone(self) -> None:
        detector = tiny.teacher("faster_rcnn")
        method = find("defeat", "recipe.yaml")(detector, detector, foreground=2.0, background=3.0, side=16.0)
        method.adapters = nn.ModuleDict({s: nn.Identity() for s in method.adapters})
        shapes = {"4": (2, 1, 16, 16), "8": (2, 1, 8, 8)}
        own = Taps(image_size=(64, 64), neck={s: torch.ones(shape) for s, shape in shapes.items()})
        own.neck["8"] = own.neck["8"] * 3
        other = Taps(neck={s: torch.zeros(shape) for s, shape in shapes.items()})
        targets = [{"boxes": torch.tensor([[8.0, 8, 28, 24]])}, {"boxes": torch.zeros(0, 4)}]  # a side of 18 pixels
        terms = method(own, other, targets)
        assert terms["foreground"].item() == pytest.approx(2 * (1 / 2 + 0) / 2)
        assert terms["background"].item() == pytest.approx(3 * (1 / 2 + 9 / 2) / 2)
        targets[0]["boxes"] = torch.tensor([[0.0, 0, 40, 40]])
        assert method(own, other, targets)["foreground"].item() == pytest.approx(2 * (0 + 9 / 2) / 2)


class TestFRS:
    def test_pixels_weigh_by_the_teachers_best_score(self) -> None:
        # Two locations of two anchors and one class: best scores 3/4 and 1/2.
        teacher = torch.tensor([0.0, math.log(3), -1e9, 0.0], dtype=torch.float64).view(1, 4, 1)
        maps = torch.tensor([[[[2.0, 1.0]], [[0.0, 3.0]]]], dtype=torch.float64)
        features, classes = rich_losses(maps, 0 * maps, 0 * teacher, teacher)
        assert richness(teacher.reshape(1, 2, 2)).flatten().tolist() == pytest.approx([0.75, 0.5])
        assert features.item() == pytest.approx((0.75 * 4 + 0.5 * 10) / 1.25)
        assert classes.item() == pytest.approx(2 * LN2)

    def test_the_teachers_objectness_weighs_and_teaches(self) -> None:
        detector = tiny.teacher("faster_rcnn")
        method = find("frs_rpn", "recipe.yaml")(detector, detector, features=0.0, classes=2.0)
        maps = {"4": torch.zeros(1, 12, 1, 2)}
        own = Taps(neck=maps, rpn_logits={"4": torch.tensor([[-math.log(3), 0.0]])})
        other = Taps(neck=maps, rpn_logits={"4": torch.tensor([[math.log(3), 0.0]])})
        # Scores 1/4, 1/2 against 3/4, 1/2, which are the weights.
        entropy = [-0.75 * math.log(1 / 4) - 0.25 * math.log(3 / 4), LN2]
        expected = 2 * (0.75 * entropy[0] + 0.5 * entropy[1]) / 1.25
        assert method(own, other, [])["classes"].item() == pytest.approx(expected)

    @pytest.mark.parametrize(("name", "family"), [("frs", "retinanet"), ("frs_rpn", "faster_rcnn")])
    def test_weights_switch_their_terms(self, name: str, family: str) -> None:
        for part in ("features", "classes"):
            values = {"features": 0.0, "classes": 0.0, part: 1.0}
            losses = tiny.distillation(family, {name: values})(*tiny.batch())
            assert [term for term in losses if term.startswith(name)] == [f"{name}.{part}"]


class TestReviewKD:
    def test_the_context_is_pooled_to_smaller_and_smaller_maps(self) -> None:
        # Error 1 of a 2 x 2 map: 1/4 of the pixels, and 1/16 of the mean; shares 1 and 1/2 over 3/2.
        student, teacher = feature(1, 0, 0, 0), feature(0, 0, 0, 0)
        assert hierarchical_loss(student, teacher).item() == pytest.approx((1 / 4 + 1 / 2 / 16) / 1.5)
        big = torch.zeros(1, 1, 8, 8)
        big[0, 0, 0, 0] = 4.0
        parts = [16 / 64, (4 / 4) ** 2 / 16, (4 / 16) ** 2 / 4, (4 / 64) ** 2]
        expected = sum(share * part for share, part in zip((1, 0.5, 0.25, 0.125), parts, strict=True)) / 1.875
        assert hierarchical_loss(big, 0 * big).item() == pytest.approx(expected)

    def test_a_level_attends_to_itself_and_to_what_lies_above(self) -> None:
        fuse = Fusion(2, 2, 2, coarsest=False)
        fuse.reduce = fuse.expand = nn.Identity()
        nn.init.zeros_(fuse.attend[0].weight)
        fuse.attend[0].bias.data = torch.tensor([math.log(3), 0.0])  # shares 3/4 and 1/2
        features, above = torch.rand(1, 2, 4, 4), torch.rand(1, 2, 2, 2)
        imitation, residual = fuse(features, above)
        expected = 0.75 * features + 0.5 * above.repeat_interleave(2, 2).repeat_interleave(2, 3)
        torch.testing.assert_close(residual, expected)
        torch.testing.assert_close(imitation, expected)

    def test_the_coarsest_level_stands_alone(self) -> None:
        method = find("reviewkd", "recipe.yaml")(tiny.detector("faster_rcnn"), tiny.teacher("faster_rcnn"), weight=1.0)
        assert list(method.fusions) == ["8", "4"]
        assert [fuse.attend is None for fuse in method.fusions.values()] == [True, False]


class TestCrossKD:
    def test_features_take_the_teachers_mean_and_deviation(self) -> None:
        aligned = restandardize(feature(1, 2, 3, 4), feature(10, 30, 10, 30))
        assert aligned.mean().item() == pytest.approx(20)
        assert aligned.std().item() == pytest.approx(feature(10, 30, 10, 30).std().item(), rel=1e-5)

    def test_the_quality_loss_is_cross_entropy_by_distance(self) -> None:
        teacher = torch.tensor([[math.log(3.0)]])  # s(z_T) = 3/4
        assert quality_loss(torch.zeros(1, 1), teacher).item() == pytest.approx(0.25 * LN2)

    def test_the_box_loss_is_weighted_by_the_best_score(self) -> None:
        boxes, others = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[2.0, 0, 4, 2]])
        # Side by side: no overlap, no gap, so GIoU is 0.
        assert box_loss(boxes, others, torch.tensor([[-9.0, 0.0]])).item() == pytest.approx(0.5)

    def test_the_iou_loss_is_the_negative_logarithm_of_the_overlap(self) -> None:
        boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 2, 3]])
        others = torch.tensor([[1.0, 0, 3, 2], [5, 5, 6, 6], [0, 0, 2, 3]])
        assert iou_loss(boxes, others).tolist() == pytest.approx([math.log(3), math.log(1e6), 0])

    def test_centerness_falls_from_the_middle_to_the_border(self) -> None:
        boxes = torch.tensor([[0.0, 0, 8, 4]] * 3)
        anchors = torch.tensor([[3.0, 1, 5, 3], [1, 0, 3, 2], [7, 1, 11, 3]])  # centres (4, 2), (2, 1), (9, 2)
        assert centerness(boxes, anchors).tolist() == pytest.approx([1, math.sqrt(2 / 6 * 1 / 3), 0])

    @pytest.mark.parametrize("slice_", sorted(Path("params").glob("*/fcos_r*/crosskd.yaml")), ids=str)
    def test_fcos_has_the_weights_and_losses_of_its_released_config(self, slice_: Path) -> None:
        published = {"classes": 0.4, "boxes": 0.75, "overlap": "iou", "divisor": "centerness"}
        assert yaml.safe_load(slice_.read_text())["methods"]["crosskd"] == published

    def test_boxes_are_compared_as_the_recipe_says(self) -> None:
        detector = tiny.teacher("retinanet")
        crosskd = find("crosskd", "recipe.yaml")
        assert crosskd(detector, detector, classes=0.0, boxes=1.0, overlap="iou").distance is iou_loss
        assert crosskd(detector, detector, classes=0.0, boxes=1.0).distance is not iou_loss

    def test_its_divisor_may_be_the_sum_of_centerness(self) -> None:
        student, teacher = tiny.teacher("retinanet", neck_channels=8), tiny.teacher("retinanet")
        images, targets = tiny.batch()
        own, other = (each.observe(images, each.taps - STUDENT_ONLY) for each in (student, teacher))
        anchors = torch.cat(list(other.anchors.values()))
        labels = torch.full((2, len(anchors)), -1)
        labels[0, :2] = labels[1, 5] = 0
        # Boxes about the anchor's centre, but for one, twice as wide and moved by a quarter: 3 to 5 from its sides.
        moved = torch.zeros(2, len(anchors), 4)
        moved[0, 1, 0], moved[0, 1, 2] = 0.25, LN2
        own = replace(own, anchor_labels=labels, anchor_targets=moved)
        terms = [
            find("crosskd", "recipe.yaml")(student, teacher, classes=1.0, boxes=1.0, divisor=divisor)
            for divisor in ("positives", "centerness")
        ]
        terms[1].load_state_dict(terms[0].state_dict())
        counted, centered = (method(own, other, targets) for method in terms)
        for part in ("classes", "boxes"):
            assert centered[part].item() * (2 + math.sqrt(3 / 5)) == pytest.approx(3 * counted[part].item(), rel=1e-5)

    def test_it_counts_all_but_ignored_anchors_over_the_number_of_positives(self) -> None:
        student, teacher = tiny.teacher("retinanet", neck_channels=8), tiny.teacher("retinanet")
        method = find("crosskd", "recipe.yaml")(student, teacher, classes=2.0, boxes=0.0)
        images, targets = tiny.batch()
        own, other = (each.observe(images, frozenset(method.taps)) for each in (student, teacher))
        crossed = {
            s: restandardize(method.cls_adapter(f), other.head_cls_features[s])
            for s, f in own.head_cls_features.items()
        }
        logits = torch.cat(list(teacher.finish_head(crossed, {}).head_logits.values()), dim=1)
        labels = torch.full(logits.shape[:2], -2)
        labels[0, :3] = torch.tensor([1, 0, -1])
        (loss,) = method(replace(own, anchor_labels=labels), other, targets).values()
        expected = 2 * quality_loss(logits[0, :3], torch.cat(list(other.head_logits.values()), dim=1)[0, :3]) / 2
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_the_edge_loss_is_the_divergence_of_distributions_weighted_by_the_best_score(self) -> None:
        even, sure = torch.zeros(4, 2), torch.tensor([[math.log(3), 0.0]]).expand(4, 2)
        edges, others = torch.stack([even, even]), torch.stack([torch.cat([sure[:1], even[1:]]), even])
        # One edge of four, 3/4 and 1/4 against halves: 3/4 log 3/2 + 1/4 log 1/2. The best scores are 1/2 and 3/4.
        divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
        logits = torch.tensor([[-9.0, 0.0], [math.log(3), 0.0]])
        assert edge_loss(edges, others, logits).item() == pytest.approx(0.5 * divergence / 4, rel=1e-5)

    def test_boxes_and_edges_may_be_divided_by_the_sum_of_the_teachers_scores(self) -> None:
        student, teacher = tiny.teacher("gfl", neck_channels=8), tiny.teacher("gfl")
        weights = {"classes": 1.0, "boxes": 2.0, "edges": 3.0}
        terms = [
            find("crosskd", "recipe.yaml")(student, teacher, **weights, divisor=d) for d in ("positives", "scores")
        ]
        terms[1].load_state_dict(terms[0].state_dict())
        images, targets = tiny.batch()
        own, other = (each.observe(images, terms[0].taps) for each in (student, teacher))
        labels = torch.full(torch.cat(list(other.head_logits.values()), dim=1).shape[:2], -1)
        labels[0, :3], labels[1, :2] = 1, -2
        counted, scored = (method(replace(own, anchor_labels=labels), other, targets) for method in terms)
        assert counted.keys() == scored.keys() == weights.keys()
        scores = torch.cat(list(other.head_logits.values()), dim=1)[labels != -2].sigmoid().amax(-1).sum().item()
        assert scored["classes"].item() == counted["classes"].item()
        for part in ("boxes", "edges"):
            assert scored[part].item() * scores == pytest.approx(3 * counted[part].item(), rel=1e-5)

    def test_edges_are_for_heads_that_predict_them(self) -> None:
        detector = tiny.teacher("retinanet")
        with pytest.raises(UserError, match="edges: the student RetinaNetDetector predicts no distributions of edges"):
            find("crosskd", "recipe.yaml")(detector, detector, classes=1.0, boxes=1.0, edges=1.0)

    def test_decoding_agrees_with_torchvision(self) -> None:
        torch.manual_seed(0)
        anchors = torch.rand(5, 2).repeat(1, 2) * 50 + torch.tensor([0.0, 0, 20, 30])
        deltas = torch.randn(5, 4) * torch.tensor([1, 1, 1, 20])
        torch.testing.assert_close(decode(deltas, anchors), BoxCoder((1, 1, 1, 1)).decode_single(deltas, anchors))


class TestBCKD:
    def test_boxes_weigh_by_how_far_a_class_score_is_off(self) -> None:
        boxes, others = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[2.0, 0, 4, 2]])
        # Scores 1/2 and 1/2 against 1/2 and 1/4: 1/4 apart. Side by side, GIoU is 0.
        logits, other = torch.zeros(1, 2, requires_grad=True), torch.tensor([[0.0, -math.log(3)]])
        loss = disputed_box_loss(boxes.requires_grad_(), others, logits, other)
        assert loss.item() == pytest.approx(0.25)
        loss.backward()
        assert logits.grad is None

    def test_it_counts_all_but_ignored_anchors_over_the_number_of_positives(self) -> None:
        detector = tiny.teacher("retinanet")
        method = find("bckd", "recipe.yaml")(detector, detector, classes=2.0, boxes=3.0)
        anchors = torch.tensor([[0.0, 0, 2, 2]]).expand(4, 4)
        own = Taps(
            anchors={"4": anchors},
            head_logits={"4": torch.zeros(1, 4, 1)},
            head_deltas={"4": torch.zeros(1, 4, 4)},
            anchor_labels=torch.tensor([[0, 0, -1, -2]]),
        )
        moved = torch.zeros(1, 4, 4)
        moved[..., 0] = 1.0  # side by side
        other = Taps(head_logits={"4": torch.full((1, 4, 1), math.log(3))}, head_deltas={"4": moved})
        terms = method(own, other, [])
        assert terms["classes"].item() == pytest.approx(2 * 3 * 0.25 * LN2 / 2)
        assert terms["boxes"].item() == pytest.approx(3 * 3 * 0.25 / 2)


class TestCWDHead:
    def test_each_anchor_and_class_has_a_map(self) -> None:
        logits = torch.arange(12.0).view(1, 6, 2)  # three locations of two anchors and two classes
        assert class_maps(logits, 3).tolist() == [[[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]]

    def test_a_level_that_all_positions_share_does_not_matter(self) -> None:
        detector = tiny.teacher("retinanet")
        method = find("cwd_head", "recipe.yaml")(detector, detector, weight=2.0)
        taps = detector.observe(tiny.batch()[0], frozenset({"neck", "head_logits"}))
        moved = {s: each + torch.arange(float(tiny.K)) for s, each in taps.head_logits.items()}
        assert method(replace(taps, head_logits=moved), taps, [])["head"].item() == pytest.approx(0, abs=1e-5)

    def test_it_is_the_divergence_of_each_map(self) -> None:
        detector = tiny.teacher("retinanet")
        method = find("cwd_head", "recipe.yaml")(detector, detector, weight=3.0)
        p = torch.tensor([0.7, 0.1, 0.1, 0.1]).log()
        maps = {"4": torch.zeros(1, 1, 2, 2)}
        own = Taps(neck=maps, head_logits={"4": torch.zeros(1, 4, 2)})
        other = Taps(head_logits={"4": torch.stack([p, p.flip(0)], dim=1)[None]})
        expected = math.log(4) + 0.7 * math.log(0.7) + 0.3 * math.log(0.1)
        assert method(own, other, [])["head"].item() == pytest.approx(3 * expected)


class TestLD:
    APART = (0.7 * math.log(2.8) + 0.3 * math.log(0.4)) / 4
    """The mean over four bins of KL((0.7, 0.1, 0.1, 0.1) || uniform)."""

    def test_the_divergence_is_a_mean_over_bins(self) -> None:
        student, teacher = torch.zeros(1, 4, dtype=torch.float64), logits_of(0.7, 0.1, 0.1, 0.1)
        assert soft_divergence(student, teacher, 1.0).item() == pytest.approx(self.APART)
        assert soft_divergence(student, 2 * teacher, 2.0).item() == pytest.approx(4 * self.APART)
        assert soft_divergence(teacher, student, 1.0).item() != pytest.approx(self.APART)

    def test_edges_are_summed_and_locations_weighted(self) -> None:
        teacher = torch.zeros(2, 4, 4, dtype=torch.float64)
        teacher[0, :2] = logits_of(0.7, 0.1, 0.1, 0.1)
        teacher[1, 3] = logits_of(0.1, 0.1, 0.7, 0.1)
        loss = localization_loss(torch.zeros_like(teacher), teacher, torch.tensor([0.5, 3.0]), 1.0)
        assert loss.item() == pytest.approx((0.5 * 2 + 3.0) * self.APART)

    def test_the_valuable_region_is_below_the_threshold_and_above_a_part_of_it(self) -> None:
        # IoU 1, 3/5, 1/3, 1/7; less squared distances 4, 16, 36 over 164, 208, 260: DIoU 1, 0.576, 0.256, 0.004.
        anchors = torch.tensor([[0.0, 0, 8, 8], [2, 0, 10, 8], [4, 0, 12, 8], [6, 0, 14, 8]])
        # The first three have mean 0.644 and deviation 0.336, so a threshold of 0.980.
        assert valuable_region([anchors], anchors[:1], 0.25, 3).tolist() == pytest.approx([0, 3 / 5, 1 / 3, 0])
        assert valuable_region([anchors], anchors[:1], 0.3, 3).tolist() == pytest.approx([0, 3 / 5, 0, 0])
        split = [anchors[:1], anchors[1:]]  # the nearest of each level, 1 and 3/5: 0.8 + 0.283 is above all
        assert valuable_region(split, anchors[:1], 0.25, 1).tolist() == pytest.approx([1, 3 / 5, 0, 0])
        two = torch.cat([anchors[:1], anchors[3:]])
        assert valuable_region([anchors], two, 0.25, 3).tolist() == pytest.approx([0, 3 / 5, 3 / 5, 0])
        assert valuable_region([anchors], anchors[:0], 0.25, 3).tolist() == [0, 0, 0, 0]

    def test_its_terms_are_divided_by_constants_and_by_the_positives_of_a_level(self) -> None:
        detector = tiny.teacher("gfl")
        detector.nearest = 3
        weights = {"main": 2.0, "valuable": 3.0, "classes": 5.0}
        method = find("ld", "recipe.yaml")(detector, detector, **weights, temperature=1.0, class_temperature=2.0)
        anchors = torch.tensor([[0.0, 0, 8, 8], [2, 0, 10, 8], [4, 0, 12, 8], [6, 0, 14, 8]])
        logits = torch.zeros(1, 4, 4, requires_grad=True)
        away = {"anchors": {"4": anchors, "8": anchors[:1] + 99}, "anchor_labels": torch.tensor([[0, 2, -1, -2, 1]])}
        edges = {"4": torch.zeros(1, 4, 4, 4), "8": torch.zeros(1, 1, 4, 4)}
        own = Taps(head_logits={"4": logits, "8": logits[:, :1]}, head_edges=edges, **away)
        sure, off = torch.tensor([0.7, 0.1, 0.1, 0.1]).log(), torch.zeros(4)
        other = Taps(
            head_logits={"4": 2 * torch.stack([sure, off, sure, sure])[None], "8": 2 * sure.expand(1, 1, 4)},
            head_edges={"4": torch.stack([sure, off, sure, sure])[None, :, None].expand(1, 4, 4, 4), "8": edges["8"]},
        )
        # The far anchor of the other level lowers the threshold: mean 0.483, deviation 0.423, so 0.907 and 0.227.
        terms = method(own, other, [{"boxes": anchors[:1]}])
        assert terms["main"].item() == pytest.approx(2 * 0.5 * 4 * self.APART / 4, rel=1e-5)
        assert terms["valuable"].item() == pytest.approx(3 * 4 * self.APART / 3 / 16, rel=1e-5)
        assert terms["classes"].item() == pytest.approx(5 * 4 * (self.APART / 2 + self.APART), rel=1e-5)
        assert not terms["main"].requires_grad

    def test_a_term_of_weight_zero_is_absent(self) -> None:
        for part in ("main", "valuable", "classes"):
            losses = tiny.distillation("gfl", {"ld": {"main": 0.0, "valuable": 0.0, "classes": 0.0, part: 1.0}})(
                *tiny.batch()
            )
            assert [term for term in losses if term.startswith("ld")] == [f"ld.{part}"]


class TestChen:
    def test_objectness_weighs_the_background_more(self) -> None:
        student = torch.tensor([0.0, -math.log(3)], dtype=torch.float64)
        teacher = torch.tensor([math.log(3), 0.0], dtype=torch.float64)
        expected = [0.75 * LN2 + 1.5 * 0.25 * LN2, 0.5 * math.log(4) + 1.5 * 0.5 * math.log(4 / 3)]
        assert soft_objectness_loss(student, teacher, 1.5).tolist() == pytest.approx(expected)

    def test_a_mini_batch_holds_half_positives_at_most(self) -> None:
        labels = torch.tensor([[0, 0, 0, -1, -1, -1, -2], [0, -1, -1, -1, -1, -1, -1], [-1, -1, -2, -2, -2, -2, -2]])
        chance = sampling_chance(labels, batch=4)
        assert chance[0].tolist() == pytest.approx([2 / 3] * 6 + [0])
        assert chance[1].tolist() == pytest.approx([1] + [3 / 6] * 6)
        assert chance[2].tolist() == [1, 1, 0, 0, 0, 0, 0]
        assert sampling_chance(torch.full((1, 3), -2), 4).sum() == 0

    @pytest.mark.parametrize("positives", [3, 40])
    def test_it_weighs_anchors_as_the_native_sampling_takes_them(self, positives: int) -> None:
        native = torch.full((200,), 0.0)
        native[:positives], native[-20:] = 1.0, -1.0
        sampler = BalancedPositiveNegativeSampler(32, 0.5)
        torch.manual_seed(0)
        drawn = torch.stack([torch.stack([each[0] for each in sampler([native])]).sum(0) for _ in range(2000)])
        chance = sampling_chance(native[None].long() - 1, 32)[0]
        torch.testing.assert_close(drawn.float().mean(0), chance, atol=0.05, rtol=0)
        assert chance.sum().item() == pytest.approx(32)

    def test_a_background_roi_counts_in_the_mean_of_box_errors(self) -> None:
        detector = tiny.teacher("faster_rcnn")
        weights = {"rpn_classes": 0.0, "rpn_boxes": 0.0, "roi_classes": 0.0, "roi_boxes": 3.0}
        method = find("chen", "recipe.yaml")(detector, detector, **weights)
        deltas = torch.zeros(4, tiny.K, 4)
        deltas[1, 2] = 1.0  # the only RoI of an object, its class the third
        own = Taps(roi_labels=torch.tensor([tiny.K, 2, tiny.K, tiny.K]), roi_targets=torch.zeros(4, 4))
        terms = method(replace(own, roi_deltas=deltas), Taps(roi_deltas=torch.zeros(4, tiny.K, 4)), [])
        assert terms["roi_boxes"].item() == pytest.approx(3 * 4 / 4)

    def test_the_terms_of_the_rpn_are_means_over_the_mini_batch(self) -> None:
        detector = tiny.teacher("faster_rcnn")
        weights = {"rpn_classes": 2.0, "rpn_boxes": 3.0, "roi_classes": 0.0, "roi_boxes": 0.0}
        detector.rpn_batch = 4
        method = find("chen", "recipe.yaml")(detector, detector, **weights)
        labels = torch.tensor([[0, 0, 0, -1, -1, -1], [-1, -1, -1, -1, -2, -2]])
        own = Taps(
            anchor_labels=labels,
            anchor_targets=torch.zeros(2, 6, 4),
            rpn_logits={"4": torch.zeros(2, 6)},
            rpn_deltas={"4": torch.ones(2, 6, 4)},
        )
        other = Taps(rpn_logits={"4": torch.zeros(2, 6)}, rpn_deltas={"4": torch.zeros(2, 6, 4)})
        terms = method(own, other, [])
        # Four anchors an image; two positives of squared error 4 among the eight.
        assert terms["rpn_classes"].item() == pytest.approx(2 * 1.25 * LN2)
        assert terms["rpn_boxes"].item() == pytest.approx(3 * 2 * 4 / 8)

    def test_the_background_column_weighs_more(self) -> None:
        loss = soft_class_loss(torch.zeros(1, 2, dtype=torch.float64), logits_of(0.25, 0.75), background_weight=1.5)
        assert loss.item() == pytest.approx(LN2 * (0.25 + 1.5 * 0.75))

    def test_the_regression_is_bounded_by_the_teachers_error(self) -> None:
        target = torch.zeros(2, 4)
        student = torch.tensor([[2.0, 0, 0, 0], [0, 1, 0, 0]])
        teacher = torch.tensor([[1.0, 0, 0, 0], [0, 0, 2, 0]])
        assert bounded_loss(student, teacher, target, margin=0.0).tolist() == [4, 0]
        assert bounded_loss(student, teacher, target, margin=3.5).tolist() == [4, 1]

    def test_a_part_of_weight_zero_is_absent(self) -> None:
        images, targets = tiny.batch()
        weights = {"rpn_classes": 0.0, "rpn_boxes": 0.0, "roi_classes": 2.0, "roi_boxes": 0.0}
        losses = tiny.distillation("faster_rcnn", {"chen": weights})(images, targets)
        assert [name for name in losses if name.startswith("chen")] == ["chen.roi_classes"]


def test_mimic_is_half_the_mean_squared_error() -> None:
    assert mimic_loss(feature(1, 2, 3, 4), feature(1, 0, 3, 0)).item() == 2.5


class TestDKD:
    def test_target_and_others_are_apart(self) -> None:
        student = torch.zeros(1, 3, dtype=torch.float64)  # (1/3, 2/3) and (1/2, 1/2)
        target, other = decoupled_kl(student, logits_of(0.5, 0.25, 0.25), torch.tensor([0]), temperature=1.0)
        assert target.item() == pytest.approx((math.log(3 / 2) + math.log(3 / 4)) / 2)
        assert other.item() == pytest.approx(0, abs=1e-12)
        target, other = decoupled_kl(student, logits_of(1 / 3, 1 / 2, 1 / 6), torch.tensor([0]), temperature=1.0)
        assert target.item() == pytest.approx(0, abs=1e-12)
        assert other.item() == pytest.approx(0.75 * math.log(3 / 2) + 0.25 * math.log(1 / 2))

    def test_saturated_logits_stay_finite(self) -> None:
        student = torch.tensor([[300.0, 0.0, -300.0]], requires_grad=True)
        sum(decoupled_kl(student, -student.detach(), torch.tensor([0]), 1.0)).backward()
        assert student.grad is not None
        assert student.grad.isfinite().all()


class TestGID:
    def test_instances_are_where_the_scores_differ_most_and_have_the_better_ones_box(self) -> None:
        scores, others = torch.tensor([0.9, 0.2, 0.5, 0.1]), torch.tensor([0.1, 0.9, 0.6, 0.15])
        boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [1, 0, 11, 10], [40, 0, 40.5, 10]])
        found = general_instances(scores, others, boxes, boxes + 1, count=10, threshold=0.3)
        # Gaps 0.8, 0.7, 0.1, 0.05: the third overlaps the first, the fourth is too small.
        assert found.tolist() == [[0, 0, 10, 10], [21, 1, 31, 11]]
        assert len(general_instances(scores, others, boxes, boxes, count=1, threshold=0.3)) == 1
        assert general_instances(scores, others, boxes[3:].expand(4, 4), boxes[3:], count=9, threshold=0.3).shape == (
            0,
            4,
        )

    def test_anchors_belong_by_their_overlap_or_as_the_best(self) -> None:
        anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [50, 50, 60, 60], [90, 90, 99, 99]])
        instances = torch.tensor([[0.0, 0, 10, 10], [55, 50, 65, 60]])
        assert of_instances(anchors, instances, 0.7).tolist() == [True, True, False, True, False]
        assert not of_instances(anchors, instances[:0], 0.7).any()
        assert not of_instances(anchors, instances + 200, 0.7).any()

    def test_features_are_a_sum_over_channels_and_a_mean_over_cells(self) -> None:
        student = torch.cat([feature(1, 2, 3, 4), feature(1, 0, 0, 0)], dim=1)
        assert instance_loss(student, 0 * student).item() == pytest.approx((30 + 1) / 4)
        assert instance_loss(student[:0], student[:0]).item() == 0

    def test_relations_are_relative_distances(self) -> None:
        # Distances 3, 5, 4 (mean 4) against 1, 1, 1: relative differences -1/4, 1/4, 0.
        student = torch.tensor([[0.0, 0], [3, 0], [3, 4]])[[0, 1, 2]]
        teacher = torch.eye(3) / math.sqrt(2)
        assert relation_loss(student, teacher).item() == pytest.approx(2 * (1 / 4) ** 2 / 2 / 3)
        assert relation_loss(7 * student, student).item() == pytest.approx(0, abs=1e-12)
        assert relation_loss(student[:2], 9 * teacher[:2]).item() == 0

    def test_responses_count_the_anchors_of_instances_alone(self) -> None:
        detector = tiny.teacher("faster_rcnn")
        weights = {"features": 0.0, "relations": 0.0, "classes": 2.0, "boxes": 3.0}
        method = find("gid", "recipe.yaml")(detector, detector, **weights)
        images, _ = tiny.batch(1)
        taps = detector.observe(images, method.taps)
        logits = {s: torch.full_like(each, -50.0) for s, each in taps.rpn_logits.items()}
        deltas = {s: torch.zeros_like(each) for s, each in taps.rpn_deltas.items()}
        sure = {s: each.clone() for s, each in logits.items()}
        sure["8"][0, 27] = 50.0  # the anchor (3, 3) of stride 8 is its own instance, and its four neighbours overlap it
        moved = {s: each + 0.5 for s, each in deltas.items()}
        own = replace(taps, rpn_logits=logits, rpn_deltas=moved)
        method.instances, method.overlap = 1, 0.4
        terms = method(own, replace(taps, rpn_logits=sure, rpn_deltas=deltas), [])
        assert terms["classes"].item() == pytest.approx(2 * 50.0 / 5)
        assert terms["boxes"].item() == pytest.approx(3 * 4 * 0.5)

    def test_both_detectors_features_are_pooled_at_the_recipes_scale(self) -> None:
        detector = tiny.teacher("faster_rcnn")
        weights = {"features": 2.0, "relations": 0.0, "classes": 0.0, "boxes": 0.0}
        method = find("gid", "recipe.yaml")(detector, detector, **weights, canonical=64.0)
        taps = detector.observe(tiny.batch()[0], method.taps)
        moved = replace(taps, neck={s: each + 0.5 for s, each in taps.neck.items()})
        assert method(moved, taps, [])["features"].item() == pytest.approx(2 * 12 * 0.5**2, rel=1e-4)
        assert method.pool.canonical_scale == 64.0


class TestDeFeatProposals:
    def test_foreground_and_background_are_means_of_their_own(self) -> None:
        student = torch.zeros(3, 2, dtype=torch.float64)
        teacher = torch.cat([logits_of(0.5, 0.5), logits_of(0.25, 0.75), logits_of(0.25, 0.75)])
        apart = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
        rows = torch.tensor([True, True, False])
        assert divergence(student, teacher, rows, 1.0).item() == pytest.approx(apart / 2)
        assert divergence(student, teacher, ~rows, 1.0).item() == pytest.approx(apart)
        assert divergence(student, 2 * teacher, ~rows, 2.0).item() == pytest.approx(4 * apart)
        assert divergence(student, teacher, rows & ~rows, 1.0).item() == 0

    def test_the_background_is_the_last_class(self) -> None:
        detector = tiny.teacher("faster_rcnn")
        method = find("defeat_proposals", "recipe.yaml")(detector, detector, foreground=2.0, background=3.0)
        teacher = torch.zeros(2, tiny.K + 1)
        own = Taps(roi_logits=teacher, roi_labels=torch.tensor([tiny.K, tiny.K - 1]))
        moved = teacher.clone()
        moved[0, 0] = 1.0
        terms = method(own, Taps(roi_logits=moved), [])
        assert terms["foreground"].item() == 0
        assert terms["background"].item() > 0


class TestWKD:
    def test_means_and_deviations_are_compared(self) -> None:
        # Means 2.5 and 0; variances 5/3 and 0, unbiased, beside the 1e-5.
        loss = wasserstein_loss(feature(1, 2, 3, 4), feature(0, 0, 0, 0), ratio=2.0)
        deviations = (math.sqrt(5 / 3 + 1e-5) - math.sqrt(1e-5)) ** 2
        assert loss.item() == pytest.approx(2 * 2.5**2 + deviations)

    def test_the_order_of_cells_in_a_block_does_not_matter(self) -> None:
        assert wasserstein_loss(feature(1, 2, 3, 4), feature(4, 3, 2, 1), 2.0).item() == pytest.approx(0, abs=1e-12)

    def test_a_finer_grid_sees_where(self) -> None:
        # Four blocks of one cell, without deviation: a mean of (1 - 4)^2, (2 - 3)^2, ...
        loss = wasserstein_loss(feature(1, 2, 3, 4), feature(4, 3, 2, 1), ratio=2.0, grid=2)
        assert loss.item() == pytest.approx(2 * (9 + 1 + 1 + 9) / 4)

    def test_blocks_are_those_of_an_adaptive_pooling(self) -> None:
        features = torch.rand(2, 3, 7, 5)
        means, _ = moments(features, 4)
        expected = torch.nn.functional.adaptive_avg_pool2d(features, 4).flatten(2).permute(2, 0, 1)
        torch.testing.assert_close(means, expected)


LEARNED_MAPS = {"fitnets", "fgfi", "mgd", "defeat", "frs", "frs_rpn", "reviewkd"}
"""Their learned maps start at random, so that they are not 0 where both detectors agree."""
GROWS = {"ld": ("main", "valuable")}
"""Terms that are sums over the batch, as their release has them."""
ENTROPY = {"chen": ("rpn_classes", "roi_classes"), "gid": ("classes",)}
"""Terms of soft cross-entropy: at their least where both agree, which is not 0."""


def watched(detector: Detector, images: Sequence[Tensor], targets: Sequence[Target], labelled: bool = True) -> Taps:
    """Everything a detector says of some images; if asked, with an assignment of anchors and RoIs, a row an image.

    The assignment hangs on the number of the image's objects alone, so that it moves with the image.
    """
    rois = [torch.cat([target["boxes"], target["boxes"] + 5, detector_box()]) for target in targets]
    taps = detector.observe(images, detector.taps - STUDENT_ONLY, rois)
    if not labelled:
        return taps
    locations = torch.arange(sum(len(anchors) for anchors in taps.anchors.values()))
    counts = [len(target["boxes"]) for target in targets]
    return replace(
        taps,
        anchor_labels=torch.stack([(locations + count) % 5 - 2 for count in counts]),
        anchor_targets=torch.stack([(locations[:, None] + torch.arange(4) + count) % 7 / 7 for count in counts]),
        roi_labels=torch.cat([torch.arange(len(boxes)) % (tiny.K + 1) for boxes in rois]),
        roi_targets=torch.cat([boxes / 64 for boxes in rois]),
    )


def detector_box() -> Tensor:
    """A box that is of no object, so that no image is without RoIs."""
    return torch.tensor([[4.0, 4.0, 40.0, 30.0]])


@lru_cache
def pair(family: str) -> tuple[Detector, Detector]:
    """A student and its teacher, to be looked at only."""
    return tiny.detector(family).eval(), tiny.teacher(family)


class TestEveryMethod:
    @pytest.mark.parametrize(("family", "name"), [case for case in tiny.CASES if case[1] not in LEARNED_MAPS])
    def test_is_zero_when_the_student_is_the_teacher(self, family: str, name: str) -> None:
        _, teacher = pair(family)
        values = {**tiny.METHODS[name], **dict.fromkeys(ENTROPY.get(name, ()), 0.0)}
        built = find(name, "recipe.yaml")(deepcopy(teacher), teacher, **values)
        images, targets = tiny.batch()
        taps = watched(teacher, images, targets)
        terms = built(taps, taps, targets)
        assert terms
        assert {term: value.item() for term, value in terms.items()} == pytest.approx(
            dict.fromkeys(terms, 0.0), abs=1e-6
        )

    @pytest.mark.parametrize(("family", "name"), [case for case in tiny.CASES if case[1] != "mgd"])
    def test_order_of_images_and_objects_and_size_of_batch_do_not_matter(self, family: str, name: str) -> None:
        student, teacher = pair(family)
        torch.manual_seed(0)
        built = find(name, "recipe.yaml")(student, teacher, **tiny.METHODS[name]).train()
        images, targets = tiny.batch(3)

        def value(order: list[int], flipped: bool = False) -> dict[str, float]:
            some, found = [images[i] for i in order], [targets[i] for i in order]
            own, other = watched(student, some, found), watched(teacher, some, found)
            if flipped:
                found = [{key: each.flip(0) for key, each in target.items()} for target in found]
            with torch.no_grad():
                return {term: each.item() for term, each in built(own, other, found).items()}

        once = value([0, 1, 2])
        assert value([2, 0, 1]) == pytest.approx(once, rel=1e-3)
        assert value([0, 1, 2], flipped=True) == pytest.approx(once, rel=1e-4)
        # What divides by n - 1, or normalises by it, moves a little.
        twice = value([0, 1, 2, 0, 1, 2])
        if name == "gid":  # distances of an instance to its twin
            del once["relations"], twice["relations"]
        once |= {term: 2 * once[term] for term in GROWS.get(name, ())}
        assert twice == pytest.approx(once, rel=0.02)

    @pytest.mark.parametrize(("family", "name"), tiny.CASES)
    def test_its_gradients_reach_the_student_and_its_own_parameters_only(self, family: str, name: str) -> None:
        distillation = tiny.distillation(family, {name: tiny.METHODS[name]})
        images, targets = tiny.batch()
        losses = distillation.train()(images, targets)
        terms = [value for term, value in losses.items() if term.startswith(f"{name}.")]
        assert all(value.shape == () and value.isfinite() and value >= 0 for value in terms)
        assert any(value > 0 for value in terms)
        torch.stack(terms).sum().backward()
        assert any(
            parameter.grad is not None and parameter.grad.any() for parameter in distillation.student.parameters()
        )
        for path, parameter in distillation.methods.named_parameters():
            # FGD's context blocks end in a convolution of zeros: what lies before it learns from the second step on.
            begins_at_zero = "_context" in path and "transform.3" not in path
            assert parameter.grad is not None, path
            assert begins_at_zero or path.endswith("bias") or parameter.grad.any(), path
        assert all(parameter.grad is None for parameter in distillation.teacher.parameters())

    @pytest.mark.parametrize("half", [False, True], ids=["float", "half"])
    @pytest.mark.parametrize(("family", "name"), tiny.CASES)
    def test_images_without_objects_and_objects_within_a_cell_are_fine(
        self, family: str, name: str, half: bool
    ) -> None:
        distillation = tiny.distillation(family, {name: tiny.METHODS[name]}).train()
        images, targets = tiny.batch(3)
        dot = {"boxes": torch.tensor([[10.2, 9.1, 10.9, 9.8]]), "labels": torch.tensor([1])}
        for found in ([targets[2]] * 2, [dot, targets[2]]):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                losses = distillation(images[2:] * 2, found)
            distillation.zero_grad()
            torch.stack([value.float() for value in losses.values()]).sum().backward()
            assert all(value.isfinite() for value in losses.values())
            assert all(p.grad is None or p.grad.isfinite().all() for p in distillation.parameters())

    @pytest.mark.parametrize("name", ["pkd", "cwd", "fgd", "mimic", "crosskd", "gid", "wkd"])
    def test_equal_widths_need_no_adapter(self, name: str) -> None:
        family = "retinanet" if name == "crosskd" else "faster_rcnn"
        method = find(name, "recipe.yaml")(tiny.detector(family), tiny.detector(family), **tiny.METHODS[name])
        assert not [path for path, _ in method.named_parameters() if "adapter" in path]
