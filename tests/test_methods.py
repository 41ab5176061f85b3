"""Each distillation loss against its published definition, worked out by hand on tiny tensors."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder

from detdistill.distill import find
from detdistill.distill.cnn.backbone.fitnets import hint_loss
from detdistill.distill.cnn.head.crosskd import box_loss, decode, quality_loss, restandardize
from detdistill.distill.cnn.neck.cwd import channel_loss
from detdistill.distill.cnn.neck.fgd import GcBlock, attention, attention_loss, context_loss, focal_loss, object_masks
from detdistill.distill.cnn.neck.mgd import masked_generation_loss
from detdistill.distill.cnn.neck.pkd import pearson_loss
from detdistill.distill.cnn.rpn_roi.chen import bounded_loss, soft_class_loss, soft_objectness_loss
from detdistill.distill.cnn.rpn_roi.dkd import decoupled_kl
from detdistill.distill.cnn.rpn_roi.mimic import mimic_loss

LN2 = math.log(2)


def feature(*values: float) -> Tensor:
    """A 2 x 2 map of one channel and one image."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 2, 2)


def logits_of(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


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

    def test_the_context_block_starts_as_the_identity(self) -> None:
        features = torch.rand(2, 4, 3, 3)
        assert torch.equal(GcBlock(4)(features), features)
        assert context_loss(features + 1, features).item() == pytest.approx(36)

    def test_the_context_is_one_weighted_mean_for_all_pixels(self) -> None:
        block = GcBlock(2)
        nn.init.zeros_(block.mask.weight)
        block.transform = nn.Sequential(nn.Identity())
        features = torch.rand(1, 2, 2, 2)
        torch.testing.assert_close(block(features), features + features.mean((2, 3), keepdim=True))


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

    def test_it_counts_all_but_ignored_anchors_over_the_number_of_positives(self) -> None:
        student, teacher = tiny.teacher("retinanet", neck_channels=8), tiny.teacher("retinanet")
        method = find("crosskd", "recipe.yaml")(student, teacher, classes=2.0, boxes=0.0)
        images, targets = tiny.batch()
        own, other = (each.observe(images, frozenset(method.taps)) for each in (student, teacher))
        crossed = {
            s: restandardize(method.cls_adapter(f), other.head_cls_features[s])
            for s, f in own.head_cls_features.items()
        }
        logits = torch.cat(list(teacher.finish_head(crossed, {})[0].values()), dim=1)
        labels = torch.full(logits.shape[:2], -2)
        labels[0, :3] = torch.tensor([1, 0, -1])
        (loss,) = method(replace(own, anchor_labels=labels), other, targets).values()
        expected = 2 * quality_loss(logits[0, :3], torch.cat(list(other.head_logits.values()), dim=1)[0, :3]) / 2
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_decoding_agrees_with_torchvision(self) -> None:
        torch.manual_seed(0)
        anchors = torch.rand(5, 2).repeat(1, 2) * 50 + torch.tensor([0.0, 0, 20, 30])
        deltas = torch.randn(5, 4) * torch.tensor([1, 1, 1, 20])
        torch.testing.assert_close(decode(deltas, anchors), BoxCoder((1, 1, 1, 1)).decode_single(deltas, anchors))


class TestChen:
    def test_objectness_weighs_positives_and_negatives_alike(self) -> None:
        labels = torch.tensor([[0, -1, -1, -1, -2]])
        student = torch.tensor([[0.0, math.log(3), math.log(3), math.log(3), 1e4]])
        teacher = torch.zeros(1, 5)
        negative = -(math.log(3 / 4) + math.log(1 / 4)) / 2
        assert soft_objectness_loss(student, teacher, labels).item() == pytest.approx((LN2 + negative) / 2)
        assert soft_objectness_loss(student, teacher, labels.fill_(-2)).item() == 0

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


class TestEveryMethod:
    @pytest.mark.parametrize(("family", "name"), [case for case in tiny.CASES if case[1] not in {"fitnets", "mgd"}])
    def test_is_zero_when_the_student_is_the_teacher(self, family: str, name: str) -> None:
        """But for FitNets and MGD, whose learned maps start at random, and soft cross-entropy (entropy remains)."""
        teacher = tiny.teacher(family)
        images, targets = tiny.batch()
        method = find(name, "recipe.yaml")
        values = {**tiny.METHODS[name], **({"rpn_classes": 0.0, "roi_classes": 0.0} if name == "chen" else {})}
        built = method(deepcopy(teacher), teacher, **values)
        rois = [torch.cat([target["boxes"], target["boxes"] + 5]) for target in targets]
        taps = teacher.observe(
            images, teacher.taps - {"anchor_labels", "anchor_targets", "roi_labels", "roi_targets"}, rois
        )
        locations = sum(len(anchors) for anchors in taps.anchors.values())
        rows = sum(map(len, rois))
        student = replace(
            taps,
            anchor_labels=torch.arange(2 * locations).view(2, -1) % 5 - 2,
            anchor_targets=torch.rand(2, locations, 4),
            roi_labels=torch.arange(rows) % (tiny.K + 1),
            roi_targets=torch.rand(rows, 4),
        )
        terms = built(student, taps, targets)
        assert terms
        assert {term: value.item() for term, value in terms.items()} == pytest.approx(
            dict.fromkeys(terms, 0.0), abs=1e-6
        )

    @pytest.mark.parametrize(("family", "name"), tiny.CASES)
    def test_its_gradients_reach_the_student_and_its_own_parameters_only(self, family: str, name: str) -> None:
        distillation = tiny.distillation(family, {name: tiny.METHODS[name]}, code=tiny.code_of(name))
        images, targets = tiny.batch()
        losses = distillation.train()(images, targets)
        terms = [value for term, value in losses.items() if term.startswith(f"{name}.")]
        assert all(value.shape == () and value.isfinite() for value in terms)
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

    @pytest.mark.parametrize(("family", "name"), tiny.CASES)
    def test_an_image_without_objects_is_fine(self, family: str, name: str) -> None:
        distillation = tiny.distillation(family, {name: tiny.METHODS[name]})
        images, targets = tiny.batch(3)
        losses = distillation.train()(images[2:] * 2, targets[2:] * 2)
        torch.stack(list(losses.values())).sum().backward()
        assert all(value.isfinite() for value in losses.values())
        assert all(p.grad is None or p.grad.isfinite().all() for p in distillation.parameters())

    @pytest.mark.parametrize("name", ["pkd", "cwd", "fgd", "mimic", "crosskd"])
    def test_equal_widths_need_no_adapter(self, name: str) -> None:
        family = "retinanet" if name == "crosskd" else "faster_rcnn"
        method = find(name, "recipe.yaml")(tiny.detector(family), tiny.detector(family), **tiny.METHODS[name])
        assert not [path for path, _ in method.named_parameters() if "adapter" in path]
