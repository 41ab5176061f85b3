"""What is particular to detectors with queries: decoding, matching, set losses, denoising, a user's own weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DeformableDetrForObjectDetection, ResNetConfig, RTDetrForObjectDetection

from detdistill.core.errors import UserError
from detdistill.detectors import build
from detdistill.detectors.base import Detector, Queries, Taps
from detdistill.detectors.recorder import Recorder
from detdistill.engines.transformers.deformable_detr import DeformableDetrParams
from detdistill.engines.transformers.rt_detr import RTDetrParams

FAMILIES = ["rt_detr", "deformable_detr"]
LAYER_TAPS = ("queries", "query_logits", "query_boxes")


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def detector(family: str) -> Detector:
    return tiny.detector(family)


@pytest.fixture
def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Three images, one of them smaller than the others."""
    images, targets = tiny.batch(3)
    return [images[0], images[1][:, :60, :52], images[2]], targets


def observed(detector: Detector, images: list[Tensor]) -> Taps:
    with torch.no_grad():
        return detector.eval().observe(images, detector.taps)


def quiet(family: str) -> Detector:
    """A detector whose training step draws nothing, so that it has no terms but those of its queries."""
    return tiny.detector(family, **({"denoising": 0} if family == "rt_detr" else {"dropout": 0.0})).train()


class TestDecoder:
    def test_its_own_queries_give_the_native_layers_to_the_bit(self, detector: Detector, batch: Any) -> None:
        taps = observed(detector, batch[0])
        with torch.no_grad():
            again = detector.decode(taps, taps.initial_queries)
            native = detector.predict(batch[0])
        for name in LAYER_TAPS:
            assert list(getattr(again, name)) == ["0", "1"]
            assert all(torch.equal(getattr(again, name)[layer], tap) for layer, tap in getattr(taps, name).items())
        scores = again.query_logits["1"].sigmoid().flatten(1).topk(12).values
        assert all(torch.equal(scores[i], found["scores"]) for i, found in enumerate(native))

    def test_gradients_flow_into_memory_and_queries(self, detector: Detector, batch: Any) -> None:
        _, taps = detector.train().training_step(*batch, detector.taps)
        memory = {stride: level.detach().requires_grad_() for stride, level in taps.memory.items()}
        content = taps.initial_queries.content.detach().requires_grad_()
        queries = Queries(content, taps.initial_queries.boxes, taps.initial_queries.position)
        given = Taps(image_size=taps.image_size, image_sizes=taps.image_sizes, memory=memory)
        detector.decode(given, queries).query_logits["1"].sum().backward()
        assert content.grad.any()
        assert all(level.grad.any() for level in memory.values())

    def test_the_reference_points_of_anothers_positions_are_its_own(self, batch: Any) -> None:
        """As DETRDistill and KD-DETR run it: the layer that finds them belongs to the decoder, and learns."""
        detector, other = tiny.detector("deformable_detr"), tiny.teacher("deformable_detr")
        taps, queries = observed(detector, batch[0]), observed(other, batch[0]).initial_queries
        detector.decode(taps, queries).query_boxes["0"].sum().backward()
        layer = detector.model.model.reference_points
        assert layer.weight.grad.any()
        with torch.no_grad():
            elsewhere = Queries(queries.content, 1 - queries.boxes, queries.position)
            found, again = (detector.decode(taps, each).query_boxes["0"] for each in (queries, elsewhere))
        assert torch.equal(found, again)

    def test_it_runs_at_the_queries_of_another_detector(self, family: str, detector: Detector, batch: Any) -> None:
        other = observed(tiny.teacher(family, queries=9), batch[0]).initial_queries
        found = detector.decode(observed(detector, batch[0]), other)
        assert found.query_logits["1"].shape == (3, 9, tiny.K)

    def test_the_order_of_queries_is_the_order_of_answers(self, detector: Detector, batch: Any) -> None:
        taps = observed(detector, batch[0])
        order = torch.tensor([3, 1, 5, 0, 2, 4])
        start = taps.initial_queries
        position = start.position if start.position is None else start.position[:, order]
        with torch.no_grad():
            found = detector.decode(taps, Queries(start.content[:, order], start.boxes[:, order], position))
        for name in LAYER_TAPS:
            for layer, tap in getattr(taps, name).items():
                torch.testing.assert_close(getattr(found, name)[layer], tap[:, order], rtol=1e-4, atol=1e-5)

    def test_random_queries_hang_on_the_generator_alone(self, detector: Detector, batch: Any) -> None:
        taps = observed(detector, batch[0])
        torch.manual_seed(3)
        first = detector.random_queries(taps, 20)
        second = detector.random_queries(taps, 20)
        torch.manual_seed(3)
        again = detector.random_queries(taps, 20)
        assert first.content.shape == (3, 20, 32)
        assert ((first.boxes >= 0) & (first.boxes <= 1)).all()
        assert torch.equal(first.content, again.content)
        assert torch.equal(first.boxes, again.boxes)
        assert not torch.equal(first.content, second.content)
        assert detector.decode(taps, first).query_logits["1"].shape == (3, 20, tiny.K)

    def test_queries_without_position_are_refused_where_one_is_needed(self, batch: Any) -> None:
        queries = observed(tiny.detector("rt_detr"), batch[0]).initial_queries
        detector = tiny.detector("deformable_detr")
        with pytest.raises(UserError, match="deformable_detr decodes at queries with a learned position"):
            detector.decode(observed(detector, batch[0]), queries)

    def test_denoising_queries_are_in_no_tap(self, batch: Any) -> None:
        detector = tiny.detector("rt_detr").train()
        with Recorder(detector.model, ["model.decoder"]) as recorder:
            losses, taps = detector.training_step(*batch, detector.taps)
        (call,) = recorder.calls["model.decoder"]
        logits = call.output.intermediate_logits[:, -1]
        assert "loss_vfl_dn_0" in losses
        assert logits.shape[1] == 6 + 2 * 4
        assert torch.equal(taps.query_logits["1"], logits[:, -6:])
        assert torch.equal(taps.initial_queries.content, call.kwargs["inputs_embeds"][:, -6:])

    def test_the_neck_alone_needs_no_decoder(self, detector: Detector, batch: Any) -> None:
        with Recorder(detector.model, ["model.encoder", "model.decoder"]) as recorder:
            detector.eval().observe(batch[0], frozenset({"backbone", "neck"}))
        assert not recorder.calls

    @pytest.mark.parametrize("masked", [True, False])
    def test_attention_does_not_see_the_padding_of_a_smaller_image(
        self, monkeypatch: pytest.MonkeyPatch, masked: bool
    ) -> None:
        """Deformable DETR masks it: other features there change no prediction, and they would without the mask."""
        detector = tiny.detector("deformable_detr").eval()
        for head in detector.model.class_embed:
            torch.nn.init.normal_(head.weight, std=0.5)  # else all scores are about 0.01
        if not masked:
            monkeypatch.setattr(
                "detdistill.engines.transformers.detector.pixel_mask",
                lambda batch: torch.ones(2, *batch.tensors.shape[2:]),
            )
        images = [torch.rand(3, 64, 64), torch.rand(3, 32, 32)]

        def spoil(module: Any, given: Any, features: Tensor) -> Tensor:
            spoilt = features.clone()
            height, width = ((side + 1) // 2 for side in features.shape[2:])
            spoilt[1, :, height:] += 10
            spoilt[1, :, :, width:] += 10
            return spoilt

        with torch.no_grad():
            before = detector.predict(images)[1]
            for project in detector.model.model.input_proj:
                project.register_forward_hook(spoil)
            after = detector.predict(images)[1]
        assert not masked or (before["boxes"] <= 33).all()
        assert torch.equal(before["scores"], after["scores"]) == masked


class TestAssignment:
    def test_a_query_that_is_an_object_gets_it(self, detector: Detector, batch: Any) -> None:
        images, targets = batch
        taps = observed(detector, images)
        own = [(64, 64), (60, 52), (64, 64)] if detector.masks_padding else [(64, 64)] * 3
        logits, boxes = torch.full((3, 6, tiny.K), -3.0), torch.full((3, 6, 4), 0.05)
        expected = [[4], [5, 2], []]
        for i, (target, (h, w)) in enumerate(zip(targets, own, strict=True)):
            for box, label, query in zip(target["boxes"], target["labels"], expected[i], strict=True):
                x0, y0, x1, y1 = box.tolist()
                boxes[i, query] = torch.tensor([(x0 + x1) / 2 / w, (y0 + y1) / 2 / h, (x1 - x0) / w, (y1 - y0) / h])
                logits[i, query, label] = 3.0
        taps.query_logits["1"], taps.query_boxes["1"] = logits, boxes
        for (queries, objects), wanted in zip(detector.match(taps, targets, "1"), expected, strict=True):
            assert dict(zip(objects.tolist(), queries.tolist(), strict=True)) == dict(enumerate(wanted))

    def test_set_losses_under_the_own_assignment_are_the_native_ones(self, family: str, batch: Any) -> None:
        images, targets = batch
        detector = quiet(family)
        losses, taps = detector.training_step(images, targets, detector.taps)
        suffixes = {"0": "_aux_0" if family == "rt_detr" else "_0", "1": ""}
        for layer, suffix in suffixes.items():
            one = Taps(image_size=taps.image_size, image_sizes=taps.image_sizes)
            one.query_logits, one.query_boxes = {layer: taps.query_logits[layer]}, {layer: taps.query_boxes[layer]}
            terms = detector.set_loss(one, targets, detector.match(taps, targets, layer))
            assert {f"{name}{suffix}": value.item() for name, value in terms.items()} == pytest.approx(
                {f"{name}{suffix}": losses[f"{name}{suffix}"].item() for name in terms}, rel=1e-5
            )
            assert len(terms) == 3

    def test_set_losses_of_all_layers_have_the_native_names(self, family: str, batch: Any) -> None:
        detector = quiet(family)
        losses, taps = detector.training_step(*batch, detector.taps)
        terms = detector.set_loss(taps, batch[1], detector.match(taps, batch[1], "1"))
        assert terms.keys() == {name for name in losses if not name.endswith("aux_1")}  # those of the encoder
        torch.stack(list(terms.values())).sum().backward()
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in detector.parameters())

    def test_another_assignment_costs_more(self, family: str, batch: Any) -> None:
        images, targets = batch
        detector = quiet(family)
        _, taps = detector.training_step(images, targets, detector.taps)
        best = detector.match(taps, targets, "1")
        worse = [((queries + 1) % 6, objects) for queries, objects in best]
        own, other = (sum(detector.set_loss(taps, targets, each).values()).item() for each in (best, worse))
        assert own < other


class TestAcrossFamilies:
    """Feature methods ask for maps alone: whichever detector has them can teach whichever other."""

    @pytest.mark.parametrize(
        ("student", "teacher"), [("rt_detr", "faster_rcnn"), ("faster_rcnn", "rt_detr"), ("retinanet", "rt_detr")]
    )
    @pytest.mark.parametrize("method", ["pkd", "fitnets"])
    def test_necks_and_backbones_teach_both_ways(self, student: str, teacher: str, method: str) -> None:
        distillation = tiny.distillation(student, {method: tiny.METHODS[method]}, other=tiny.teacher(teacher)).train()
        losses = distillation(*tiny.batch(3))
        terms = [value for name, value in losses.items() if name.startswith(f"{method}.")]
        torch.stack(terms).sum().backward()
        trunk = [p for name, p in distillation.student.model.named_parameters() if "backbone.body" in name]
        assert all(parameter.grad is not None for parameter in trunk)
        assert any(parameter.grad.any() for parameter in trunk)
        assert all(parameter.grad is None for parameter in distillation.teacher.parameters())


class TestParameters:
    @pytest.mark.parametrize(
        ("family", "changes", "expected"),
        [
            ("rt_detr", {"heads": 5}, "student.yaml: detector.hidden: 32 is no multiple of 5"),
            ("deformable_detr", {"hidden": 48}, "student.yaml: detector.hidden: 48 is no multiple of 32"),
            ("rt_detr", {"querys": 6}, "student.yaml: detector: unknown key 'querys'; did you mean 'queries'"),
        ],
    )
    def test_what_cannot_be_built_is_told(self, family: str, changes: dict[str, Any], expected: str) -> None:
        with pytest.raises(UserError, match=expected):
            tiny.detector(family, **changes)

    def test_an_unknown_family_is_told(self) -> None:
        with pytest.raises(
            UserError, match=r"detector.family: transformers has no family 'rtdetr'; did you mean 'rt_detr'"
        ):
            build("transformers", {"family": "rtdetr"}, tiny.K, "student.yaml")

    def test_the_number_of_queries_is_known(self, detector: Detector) -> None:
        assert detector.num_queries == 6
        assert tiny.detector("faster_rcnn").num_queries is None

    def test_more_queries_than_locations_is_told(self, batch: Any) -> None:
        with pytest.raises(
            UserError, match="rt_detr asks for 400 queries, images of 64 x 64 pixels have 320 locations"
        ):
            tiny.detector("rt_detr", queries=400).observe(batch[0], frozenset({"queries"}))

    def test_weights_that_are_not_finite_are_told(self, detector: Detector, batch: Any) -> None:
        for parameter in detector.parameters():
            torch.nn.init.constant_(parameter, float("nan"))
        with pytest.raises(UserError, match="training diverged"):
            detector.train().training_step(*batch)


@pytest.fixture
def folder(family: str, tmp_path: Path) -> Path:
    """A model with a backbone of its own, as a user would have saved it."""
    schema = {"rt_detr": RTDetrParams, "deformable_detr": DeformableDetrParams}[family]
    sizes = schema(family=family, **tiny.SIZES["transformers", family])
    config = sizes.config(tiny.K)
    config.backbone_config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1] * 4, layer_type="basic", out_indices=[3, 4]
    )
    config.feat_strides = [16, 32]
    model = {"rt_detr": RTDetrForObjectDetection, "deformable_detr": DeformableDetrForObjectDetection}[family]
    torch.manual_seed(0)
    model(config).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def pretrained(family: str, name: object, num_classes: int = tiny.K) -> Detector:
    statistics = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    return build("transformers", {"family": family, "pretrained": str(name), **statistics}, num_classes, "teacher.yaml")


class TestPretrained:
    def test_it_keeps_its_weights_and_its_backbone(self, family: str, folder: Path) -> None:
        detector = pretrained(family, folder).eval()
        images, targets = tiny.batch()
        with torch.no_grad():
            taps = detector.observe(images, detector.taps)
            again = detector.decode(taps, taps.initial_queries)
        assert "neck" not in detector.taps
        assert {stride: level.shape[1:] for stride, level in taps.backbone.items()} == {
            "16": (8, 4, 4),
            "32": (8, 2, 2),
        }
        assert list(taps.memory) == ["16", "32"]
        assert torch.equal(again.query_logits["1"], taps.query_logits["1"])
        other = pretrained(family, folder).model.state_dict()
        assert all(torch.equal(tensor, other[name]) for name, tensor in detector.model.state_dict().items())
        losses, _ = detector.train().training_step(images, targets)
        assert all(loss.isfinite() for loss in losses.values())

    def test_other_classes_begin_anew(self, family: str, folder: Path) -> None:
        detector = pretrained(family, folder, num_classes=5).eval()
        assert observed(detector, tiny.batch()[0]).query_logits["1"].shape == (2, 6, 5)

    def test_a_model_of_another_family_is_refused(self, family: str, folder: Path) -> None:
        (other,) = set(FAMILIES) - {family}
        with pytest.raises(UserError, match=rf"detector.pretrained: .* holds a model of '{family}'.*'{other}'"):
            pretrained(other, folder)

    def test_weights_that_are_not_those_of_the_config_are_refused(self, family: str, folder: Path) -> None:
        file = folder / "model.safetensors"
        state = load_file(file)
        name = next(name for name in sorted(state) if name.endswith("fc1.weight"))
        told = r"detector.pretrained: .*weights of another architecture than its config.json: "
        save_file({key: tensor for key, tensor in state.items() if key != name}, file, {"format": "pt"})
        with pytest.raises(UserError, match=told + r"no model\..*\.fc1\.weight"):
            pretrained(family, folder)
        rows, columns = state[name].shape
        save_file(state | {name: torch.zeros(rows + 1, columns)}, file, {"format": "pt"})
        shapes = rf"\({rows + 1}, {columns}\) instead of \({rows}, {columns}\) in "
        with pytest.raises(UserError, match=told + shapes + r"model\..*\.fc1\.weight"):
            pretrained(family, folder)

    def test_pickled_weights_are_refused(self, family: str, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        torch.save({}, folder / "pytorch_model.bin")
        with pytest.raises(UserError, match=r"is no folder with config.json and model.safetensors"):
            pretrained(family, folder)

    def test_a_name_that_is_not_on_this_machine_is_told(self, family: str) -> None:
        with pytest.raises(
            UserError, match=r"teacher.yaml: detector.pretrained: 'nobody/nothing' is no folder .*cache"
        ):
            pretrained(family, "nobody/nothing")
