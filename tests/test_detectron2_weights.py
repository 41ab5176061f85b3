"""Weights that training of a Detectron2 detector begins with, from files that are made here."""

from __future__ import annotations

import hashlib
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from server import Server, serving
from torchvision.models import resnet18, resnet50

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.detectors import published
from detdistill.detectors.base import Detector

pytest.importorskip("detectron2", reason="the engine detectron2 is not installed")

from detdistill.engines.detectron2 import weights

detector_of = partial(tiny.detector, engine="detectron2")


class TestWeights:
    @pytest.fixture(autouse=True)
    def _raw(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DETDISTILL_RAW", str(tmp_path))

    def file(self, folder: Path, content: Any, name: str = "resnet18.pth") -> dict[str, Any]:
        torch.save(content, folder / name)
        return {"file": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}

    def detector(self, weights: Any, **changes: Any) -> Detector:
        return detector_of("retinanet", **{"width": 64, "weights": weights, **changes})

    def test_torchvisions_classifier_has_the_same_features_here(self, tmp_path: Path, batch: Any) -> None:
        torch.manual_seed(5)
        classifier = resnet18()
        classifier(torch.rand(4, 3, 64, 64))  # so that the running statistics are not the initial ones
        detector = self.detector(self.file(tmp_path, classifier.state_dict()), norm="FrozenBN", freeze=2)
        detector.initialize("student.yaml")
        mean, std = torch.tensor([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]])[..., None, None] / 255
        classifier.eval()
        with torch.no_grad():
            x = classifier.maxpool(classifier.relu(classifier.bn1(classifier.conv1((batch[0][0] - mean)[None] / std))))
            x = classifier.layer4(classifier.layer3(classifier.layer2(classifier.layer1(x))))
            taps = detector.eval().observe(batch[0][:1], frozenset({"backbone"}))
        torch.testing.assert_close(taps.backbone["32"], x, rtol=1e-4, atol=1e-5)

    def test_a_bottleneck_body_takes_every_tensor(self, tmp_path: Path) -> None:
        weights = self.file(tmp_path, resnet50().state_dict())
        self.detector(weights, depth=50).initialize("student.yaml")
        with pytest.raises(UserError, match=r"weights of another backbone: no fitting tensor for backbone\.bottom_up"):
            self.detector(weights, depth=18).initialize("student.yaml")

    def test_imagenet_is_torchvisions_file_of_the_depth(self) -> None:
        named = weights._named(self.detector("imagenet").preparation, "student.yaml")  # type: ignore[attr-defined]
        assert (named.file, named.sha256, named.mib) == ("resnet18-f37072fd.pth", "f37072fd", 45)

    def test_files_that_are_missing_or_altered_are_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError, match=r"detector\.weights\.file: none\.pth: not found in .* or raw"):
            self.detector({"file": "none.pth", "sha256": "0" * 8}).initialize("student.yaml")
        self.file(tmp_path, {})
        with pytest.raises(UserError, match=r"resnet18\.pth: SHA-256 .*, expected 00000000; remove the file"):
            self.detector({"file": "resnet18.pth", "sha256": "0" * 8}).initialize("student.yaml")

    def test_a_file_that_is_nowhere_is_downloaded_in_several_attempts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = self.detector(None, width=8, seed=4)
        (tmp_path / "served").mkdir()
        (tmp_path / "project").mkdir()
        monkeypatch.chdir(tmp_path / "project")
        content = self.file(tmp_path / "served", source.model.state_dict())
        with serving(tmp_path / "served") as address:
            detector = self.detector(content | {"url": f"{address}/resnet18.pth", "mib": 1}, width=8)
            Server.faults["resnet18.pth"] = ["error", "cut"]
            detector.initialize("student.yaml")
            detector.initialize("student.yaml")
            assert Server.asked == ["resnet18.pth"] * 3
            assert paths.RAW.joinpath("resnet18.pth").is_file()
            absent = content | {"file": "none.pth", "url": f"{address}/none.pth", "mib": 1}
            monkeypatch.setattr(published, "RETRIES", 1)
            with pytest.raises(UserError, match=r"weights\.url: .*/none\.pth: not downloaded in 2 attempts: .*404"):
                self.detector(absent, width=8).initialize("student.yaml")
            Server.asked.clear()
            with pytest.raises(UserError, match=r"raw: none\.pth needs \d+ MiB, \d+ MiB are free"):
                self.detector(absent | {"mib": 2**40}, width=8).initialize("student.yaml")
            assert Server.asked == []
        found = detector.model.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in source.model.state_dict().items())

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("imagnet", "weights.* should be 'imagenet', found 'imagnet'"),
            ({"file": "a.pth"}, r"'weights\.sha256' is missing"),
            ({"file": "a.pth", "sha256": "0" * 8, "pickle": True}, r"unknown key 'weights\.pickle'"),
            ({"file": "a.pth", "sha256": "0" * 8, "url": "http://localhost/a.pth"}, "`url` needs `mib`"),
        ],
    )
    def test_faults_are_told(self, given: Any, message: str) -> None:
        with pytest.raises(UserError, match=f"student.yaml: detector: .*{message}"):
            self.detector(given)

    def test_code_in_a_file_is_not_run_without_leave(self, tmp_path: Path) -> None:
        weights = self.file(tmp_path, {"layer1": Trap(str(tmp_path / "ran"))})
        with pytest.raises(UserError, match=r"would run code; say allow_pickle: true to allow it"):
            self.detector(weights).initialize("student.yaml")
        assert not (tmp_path / "ran").exists()

    def test_a_pickled_file_of_the_zoo_is_read_with_leave(self, tmp_path: Path) -> None:
        source = self.detector(None, width=8, seed=4)
        state = {name: tensor.numpy() for name, tensor in source.model.state_dict().items()}
        file = tmp_path / "model_final.pkl"
        for content, other in ((state, False), ({"nothing": np.zeros(1)}, True)):
            file.write_bytes(pickle.dumps({"model": content, "__author__": "test"}))
            weights = {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "allow_pickle": True}
            detector = self.detector(weights, width=8)
            if other:
                with pytest.raises(UserError, match="weights of another backbone"):
                    detector.initialize("student.yaml")
            else:
                detector.initialize("student.yaml")
                found = detector.model.state_dict()
                assert all(torch.equal(found[name], tensor) for name, tensor in source.model.state_dict().items())

    def test_random_weights_are_not_frozen(self) -> None:
        with pytest.raises(UserError, match="without `weights`, norm must be BN or SyncBN and freeze 0"):
            detector_of("faster_rcnn", freeze=2)


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")
