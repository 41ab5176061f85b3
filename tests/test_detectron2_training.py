"""Training Detectron2's detectors: every method on every family, and exact resume."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import yaml

from detdistill import data
from detdistill.check import check
from detdistill.core import paths
from detdistill.core.files import read_json, sha256
from detdistill.data import download
from detdistill.train import step as train
from detdistill.train.checkpoint import Scratch

pytest.importorskip("detectron2", reason="the engine detectron2 is not installed")

LACKS = {**tiny.LACKS, "fcos": tiny.LACKS["retinanet"]}
FAMILIES = [family for engine, family in tiny.SIZES if engine == "detectron2"]
CASES = [(family, method) for family in FAMILIES for method in tiny.METHODS if method not in LACKS[family]]


@pytest.mark.parametrize(("family", "method"), CASES)
def test_every_method_trains_every_parameter_and_leaves_the_teacher_alone(family: str, method: str) -> None:
    own, other = (make(family, engine="detectron2") for make in (tiny.detector, tiny.teacher))
    params = tiny.METHODS[method] | ({"strides": [8, 16]} if method == "fitnets" else {})
    distillation = tiny.distillation(family, {method: params}, student=own, other=other).train()
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    losses = distillation(*tiny.batch(3))
    assert any(name.startswith(f"{method}.") for name in losses)
    assert all(loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert not [name for name, parameter in distillation.named_parameters() if parameter.grad is None]
    assert all(parameter.grad is None for parameter in other.parameters())
    assert all(tensor.equal(before[name]) or tensor.isnan() for name, tensor in other.state_dict().items())


def test_crosskd_of_gfl_as_released_trains_the_distributions_of_edges() -> None:
    own, other = (make("gfl", engine="detectron2") for make in (tiny.detector, tiny.teacher))
    params = {"classes": 1.0, "boxes": 0.0, "edges": 4.0, "divisor": "scores"}
    distillation = tiny.distillation("gfl", {"crosskd": params}, student=own, other=other).train()
    losses = distillation(*tiny.batch(3))
    assert losses["crosskd.edges"] > 0
    (slope,) = torch.autograd.grad(losses["crosskd.edges"], [own.model.head.bbox_subnet[0].weight])
    assert slope.isfinite().all()
    assert slope.any()


def test_a_killed_training_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = "smoke_detectron2"
    shutil.copytree(Path("params", study), tmp_path / "params" / study)
    monkeypatch.chdir(tmp_path)
    data.make(study)
    train.train_student(study, "retinanet", "plain", 0)
    model = paths.run(study, "retinanet", "plain", 0, "model.safetensors")
    straight = sha256(model)
    model.unlink()
    save, saved = Scratch.save, []

    def killed(scratch: Scratch, state: dict[str, Any]) -> None:
        save(scratch, state)
        saved.append(state["step"])
        raise KeyboardInterrupt

    for _ in range(2):  # each process comes one checkpoint further
        monkeypatch.setattr(Scratch, "save", killed)
        with contextlib.suppress(KeyboardInterrupt):
            train.train_student(study, "retinanet", "plain", 0)
        assert not model.exists()
    monkeypatch.setattr(Scratch, "save", save)
    train.train_student(study, "retinanet", "plain", 0)
    assert saved == [4, 8]
    assert sha256(model) == straight


def test_blood_cells_train_at_small_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study for a GPU with its own models and images, but small, from nothing and for a few steps."""
    if "DETDISTILL_SHARED" not in os.environ:
        pytest.skip("DETDISTILL_SHARED names no folder with the blood cells")
    study = "bccd_detectron2"
    shutil.copytree(Path("params", study), tmp_path / "params" / study)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(download.FOLDER, str(Path(os.environ["DETDISTILL_SHARED"], "data")))
    for file in Path("params", study).glob("*/*.yaml"):
        said = yaml.safe_load(file.read_text())
        if "training" in said:
            said["detector"] |= {"weights": None, "norm": "BN", "freeze": 0}
            said["detector"]["input"] = {"short_edges": [64], "test_short_edge": 64}
            said["training"] |= {"steps": 2, "batch": 2, "evaluations": 1, "evaluate_images": 2, "workers": 0}
            file.write_text(yaml.safe_dump(said))
    paths.params(study, "tuning").unlink()  # weights as the recipes have them
    assert check(study) == []
    data.make(study)
    for pair, recipes in {"faster_rcnn": ("plain", "fitnets", "pkd", "mimic"), "retinanet": ("crosskd",)}.items():
        train.train_teacher(study, pair)
        assert "detectron2" in read_json(paths.run(study, pair, paths.TEACHER, paths.ONCE, "timing.json"))["versions"]
        for recipe in recipes:
            train.train_student(study, pair, recipe, 0)
            assert paths.run(study, pair, recipe, 0, "model.safetensors").is_file()
