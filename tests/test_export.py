"""Models that leave the house: each library that is meant to run one finds what we find, with its own code alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import exported
import pytest
import tiny
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from detdistill.analysis.effects import Effect
from detdistill.cli import app
from detdistill.core import paths, record
from detdistill.core.errors import UserError
from detdistill.evaluate.step import evaluate
from detdistill.export import card, export
from detdistill.export.folder import load, portable

LOAD = """
import sys
import torch
from load import load
from torchvision.io import decode_image

with torch.no_grad():
    found = [load()([decode_image(file, mode="RGB") / 255])[0] for file in sys.argv[2:]]
torch.save(found, sys.argv[1])
assert not any(name.startswith("detdistill") for name in sys.modules)
"""


def out(tmp_path: Path, *formats: str) -> Path:
    export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, tmp_path / "out", formats)
    return tmp_path / "out"


def files() -> list[str]:
    return [str(paths.data(exported.STUDY, "images") / each.file_name) for each in exported.split().records]


@pytest.mark.parametrize("family", ["faster_rcnn", "retinanet", "gfl"])
def test_a_folder_gives_the_detector_back(tmp_path, monkeypatch, family):
    detector = exported.project(tmp_path, monkeypatch, "torchvision", family)
    again, its_card = load(out(tmp_path))
    for one, other in zip(exported.ours(detector), exported.ours(again), strict=True):
        assert len(one["scores"])
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert its_card.classes == [str(digit) for digit in range(10)]
    assert its_card.image_size == [tiny.SIZE, tiny.SIZE]


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("faster_rcnn", {}),
        ("retinanet", {}),
        ("retinanet", {"norm_groups": 4, "convolutions": 2}),
        ("faster_rcnn", {"backbone": "resnet18", "neck_channels": 8, "hidden": 16}),
        ("retinanet", {"backbone": "mobilenet_v3_large", "neck_channels": 8}),
    ],
)
def test_torchvision_alone_loads_and_finds_the_same(tmp_path, monkeypatch, family, changes):
    detector = exported.project(tmp_path, monkeypatch, "torchvision", family, **changes)
    folder = out(tmp_path)
    result = tmp_path / "found.pt"
    command = [sys.executable, "-c", LOAD, str(result), *(str(Path(file).resolve()) for file in files())]
    subprocess.run(command, cwd=folder, check=True)
    for one, other in zip(exported.ours(detector), torch.load(result), strict=True):
        assert torch.equal(one["boxes"], other["boxes"])
        assert torch.equal(one["scores"], other["scores"])
        assert torch.equal(one["labels"], other["labels"] - detector.label_offset)


def test_the_card_tells_a_gain_with_its_interval_if_it_has_one():
    start = "Gain of the recipe in AP50 over the plain student of its schedule: +3.0 points"
    one_seed = Effect(difference=0.03, low=None, high=None, p=None, verdict=None)
    assert card._gain(one_seed) == f"{start}."
    told = card._gain(Effect(difference=0.03, low=0.01, high=0.05, p=0.02, verdict="helps"))
    assert told.startswith(f"{start} [+1.0, +5.0], the interval of 95 % simultaneous within the pair and schedule")
    assert told.endswith("; verdict: helps.")


def test_a_family_that_torchvision_has_not_says_that_the_package_is_needed(tmp_path, monkeypatch):
    exported.project(tmp_path, monkeypatch, "torchvision", "gfl")
    folder = out(tmp_path)
    assert not (folder / "load.py").exists()
    assert "With detdistill installed, since torchvision has no GFL" in (folder / card.README).read_text()


@pytest.mark.parametrize("family", ["rt_detr", "deformable_detr"])
@pytest.mark.parametrize("trunk", ["small", "published"])
def test_a_pipeline_of_transformers_finds_the_same(tmp_path, monkeypatch, family, trunk):
    from transformers import pipeline

    changes = published(family, tmp_path) if trunk == "published" else {}
    detector = exported.project(tmp_path, monkeypatch, "transformers", family, **changes)
    folder = out(tmp_path)
    if trunk == "small":
        with pytest.raises(ValueError, match="trust_remote_code"):
            pipeline("object-detection", model=str(folder))
    assert (folder / "modeling_distilled.py").exists() == (trunk == "small")
    detect = pipeline("object-detection", model=str(folder), trust_remote_code=trunk == "small")
    for file, expected in zip(files(), exported.ours(detector), strict=True):
        found = detect(file, threshold=0.0)
        # transformers returns as many as there are queries, at most 100; a box in whole pixels.
        count = min(len(found), len(expected["scores"]))
        assert count >= 6
        scores = torch.tensor([each["score"] for each in found[:count]])
        assert torch.allclose(scores, expected["scores"][:count], atol=1e-5)
        ours = list(
            zip(expected["boxes"].tolist(), expected["scores"].tolist(), expected["labels"].tolist(), strict=True)
        )
        for each in found[:count]:  # equal scores stand in any order, and the last of them are any
            box = pytest.approx(list(each["box"].values()), abs=1.001)
            same = [one for one in ours if one[0] == box and str(one[2]) == each["label"]]
            near = [one for one in same if abs(one[1] - each["score"]) < 1e-5]
            assert near or each["score"] - found[count - 1]["score"] < 1e-5, each
            if near:
                ours.remove(near[0])
    model_boxes = detect.model(
        **detect.image_processor(images=exported.images()[:1], do_rescale=False, return_tensors="pt")
    )
    ours = detector.model(detector._batch(exported.images()[:1]).tensors, pixel_mask=torch.ones(1, 64, 64).long())
    assert torch.allclose(model_boxes.pred_boxes, ours.pred_boxes, atol=1e-6)


def published(family: str, folder: Path) -> dict[str, object]:
    """A model with a backbone of transformers' own, as its users have it on their disk."""
    import transformers as hf

    body = {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    shared = {"d_model": 64, "encoder_layers": 1, "decoder_layers": 2, "num_queries": 12, "num_labels": 10}
    shared |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "disable_custom_kernels": True}
    if family == "rt_detr":
        shared |= {"num_queries": 84}  # every place of 64 x 64 pixels: no choice among near ties
        shared |= {"encoder_hidden_dim": 64, "encoder_in_channels": [8, 8, 8], "decoder_in_channels": [64] * 3}
        own = {"model_type": "rt_detr_resnet", **body, "out_indices": [2, 3, 4]}
        model = hf.RTDetrForObjectDetection(hf.RTDetrConfig(backbone_config=own, **shared))
    else:
        own = {"model_type": "resnet", **body, "out_indices": [2, 3, 4]}
        config = hf.DeformableDetrConfig(backbone_config=own, with_box_refine=True, **shared)
        model = hf.DeformableDetrForObjectDetection(config)
    model.save_pretrained(folder / "published")
    normal = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    return {"pretrained": str(folder / "published"), **normal}


def test_a_model_with_published_weights_needs_their_folder_no_more(tmp_path, monkeypatch):
    detector = exported.project(tmp_path, monkeypatch, "transformers", "rt_detr", **published("rt_detr", tmp_path))
    folder = out(tmp_path)
    (tmp_path / "published").rename(tmp_path / "gone")
    again, _ = load(folder)
    for one, other in zip(exported.ours(detector), exported.ours(again), strict=True):
        assert torch.equal(one["boxes"], other["boxes"])


def test_the_card_tells_data_figures_and_threshold(tmp_path, monkeypatch):
    exported.project(tmp_path, monkeypatch, "torchvision", "faster_rcnn")
    evaluate(exported.STUDY, exported.PAIR, paths.TEACHER, 0)
    export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, tmp_path / "out", licence="MIT")
    told, content = (tmp_path / "out" / card.README).read_text(), json.loads((tmp_path / "out" / card.CARD).read_text())
    metrics = json.loads(paths.run(exported.STUDY, exported.PAIR, paths.TEACHER, 0, "metrics.json").read_text())
    assert f"| AP50 | {100 * metrics['test']['AP50']:.1f} | - |" in told
    assert "license: mit" in told
    assert "a teacher, trained without distillation" in told
    assert content["data"]["digest"] in told
    assert "there are no intervals" in told
    assert content["AP50"] == metrics["test"]["AP50"]
    assert 0 < content["threshold"] <= 1
    assert set(content["wrote"]) == {each.name for each in (tmp_path / "out").iterdir()} - {card.CARD}
    weights = load_file(paths.teacher(exported.STUDY, exported.PAIR))
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == weights.keys()


class TestBadInput:
    @pytest.fixture
    def model(self, tmp_path, monkeypatch):
        exported.project(tmp_path, monkeypatch, "torchvision", "faster_rcnn")
        return paths.teacher(exported.STUDY, exported.PAIR)

    def test_nothing_is_overwritten(self, model, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")
        with pytest.raises(UserError, match="out: not empty; nothing is overwritten"):
            out(tmp_path)
        assert [each.name for each in (tmp_path / "out").iterdir()] == ["mine.txt"]

    def test_an_empty_folder_is_taken(self, model, tmp_path):
        (tmp_path / "out").mkdir()
        assert (out(tmp_path) / card.CARD).is_file()

    def test_a_damaged_model_is_refused_and_leaves_nothing(self, model, tmp_path):
        evaluate(exported.STUDY, exported.PAIR, paths.TEACHER, 0)
        record = paths.run(exported.STUDY, exported.PAIR, paths.TEACHER, 0, "evaluation.json")
        predictions = record.with_name("predictions.safetensors")
        predictions.write_bytes(predictions.read_bytes()[:-4] + b"abcd")
        with pytest.raises(UserError, match=r"predictions\.safetensors: damaged"):
            out(tmp_path)
        predictions.unlink()
        model.write_bytes(model.read_bytes()[:-4])
        with pytest.raises(UserError, match=r"model\.safetensors: not a safetensors checkpoint"):
            out(tmp_path)
        assert not [each for each in tmp_path.iterdir() if "out" in each.name]

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("transformers", "--format transformers: models of torchvision do not have it; allowed: torchvision, onnx"),
            ("onxx", "--format onxx: no such format; did you mean 'onnx'?"),
        ],
    )
    def test_a_format_that_there_is_not(self, model, tmp_path, name, said):
        with pytest.raises(UserError) as error:
            out(tmp_path, name)
        assert str(error.value) == said

    def test_onnx_without_its_packages(self, model, tmp_path, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(UserError, match=r"onnx is not installed; pip install 'detdistill\[export\]' installs it"):
            out(tmp_path, "onnx")
        assert not (tmp_path / "out").exists()

    def test_a_teacher_has_one_seed(self, model, tmp_path):
        with pytest.raises(UserError, match="a pair's teacher is trained once: its seed is 0, found 1"):
            export(exported.STUDY, exported.PAIR, paths.TEACHER, 1, tmp_path / "out")

    def test_a_file_that_was_changed_afterwards_is_named(self, model, tmp_path):
        weights = out(tmp_path) / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
        with pytest.raises(UserError, match=r"model\.safetensors: missing or damaged: not what"):
            load(tmp_path / "out")

    def test_the_command_is_one_line(self, model, tmp_path):
        arguments = ["export", exported.PAIR, "teacher", "0", "--study", exported.STUDY, "--to", "out"]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        assert "wrote out; out/README.md says how to load it" in done.output


PAYLOAD = {
    "config.py": "import os\nos.system('touch owned')\nmodel = None\n",
    "config.yaml": "MODEL: !!python/object/apply:os.system ['touch owned']\n",
}


class TestNothingInAFolderIsRun:
    """Of a folder that somebody else made, with digests that fit."""

    @pytest.fixture(autouse=True)
    def project(self, tmp_path, monkeypatch):
        exported.project(tmp_path, monkeypatch, "torchvision", "faster_rcnn")

    def folder(self, detector: dict[str, object], config: str = "config.yaml", text: str = "") -> Path:
        folder = out(Path())
        (folder / config).write_text(text or PAYLOAD[config])
        content = json.loads((folder / card.CARD).read_text())
        del content["wrote"], content["seal"]
        names = [each.name for each in folder.iterdir() if each.name != card.CARD]
        record.write(folder / card.CARD, content | {"engine": "detectron2", "detector": detector}, None, names)
        return folder

    @pytest.mark.parametrize(
        ("config", "detector", "said"),
        [
            ("config.py", {"config": "config.py", "allow_code": True}, "detector.allow_code: nothing in an exported"),
            ("config.py", {"config": "config.py"}, "detector.config: 'config.py' is not what"),
            ("config.yaml", {"config": "config.yaml", "allow_code": True}, "detector.allow_code: nothing in an"),
            (
                "config.yaml",
                {"config": "config.yaml", "allow_code": False},
                "config.yaml: not YAML: could not determine",
            ),
            ("config.yaml", {"config": "../config.yaml"}, "detector.config: '../config.yaml' is not what"),
            ("config.yaml", {"pretrained": "/elsewhere"}, "detector.pretrained: '/elsewhere' is not what"),
            ("config.yaml", {"weights": {"allow_pickle": True}}, "detector.weights.allow_pickle: nothing in an"),
        ],
    )
    def test_code(self, config, detector, said):
        folder = self.folder(detector, config)
        done = CliRunner().invoke(app, ["detect", str(folder), files()[0], "--to", "found"])
        assert not list(Path().rglob("owned"))
        with pytest.raises(UserError) as error:
            load(folder)
        assert said in str(error.value)
        assert isinstance(done.exception, UserError)
        assert not list(Path().rglob("owned"))

    def test_a_config_that_begins_with_another_file(self):
        folder = self.folder({"config": "config.yaml"}, text="_BASE_: https://localhost/base.yaml\n")
        with pytest.raises(UserError, match=r"config\.yaml: not what .* a mapping without _BASE_ is needed"):
            load(folder)

    def test_no_leave_is_exported(self):
        given = {"config": "/home/me/Base.yaml", "allow_code": True, "weights": {"file": "a.pkl", "allow_pickle": True}}
        assert portable(given) == {"config": "config.yaml", "weights": {"file": "a.pkl"}}
