"""A project with one untrained model whose scores are spread, for what is done with models that leave the house."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import small_data
import tiny
import torch
import yaml
from torch import Tensor, nn

from detdistill import data
from detdistill.core import paths
from detdistill.dataset import manifest
from detdistill.dataset.manifest import Split
from detdistill.detectors import build
from detdistill.detectors.base import Detections, Detector
from detdistill.detectors.weights import save_weights
from detdistill.evaluate.predict import as_float, predict

STUDY, PAIR = "tiny", "small"
CLASSES = 10


def write_slice(*slice_: str, value: dict[str, Any]) -> None:
    path = paths.params(STUDY, *slice_)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value))


def project(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    family: str,
    images: int = 4,
    resize: int | None = None,
    **changes: Any,
) -> Detector:
    """The teacher of the only pair of a project in `folder`, which becomes the current one.

    With `resize`, the data are photographs in `raw`, shrunk to that longest side. With `config`, `pretrained` or
    `backbone`, `changes` are all that is said of the detector.
    """
    tiny.require(engine)
    monkeypatch.chdir(folder)
    start = f"data/{STUDY}/manifest.json"
    pair = {"pair": PAIR, "engine": engine, "teacher_from": start, "student_from": start}
    plain = [{"pair": PAIR, "recipe": "plain"}]
    study = {"study": STUDY, "title": "Tiny", "seeds": [0], "pairs": [pair], "plain": plain, "distilled": []}
    write_slice("study", value=study)
    if resize:
        small_data.make_voc(Path("raw"))
        splits = {name: [name] for name in small_data.SPLITS}
        write_slice("data", value={"kind": "voc", "folder": "raw", "splits": splits, "resize": resize})
    else:
        counts = {"train": 1, "val": images, "test": 2}
        sizes = {"image_size": tiny.SIZE, "digit_size": {"low": 10, "high": 20}}
        write_slice("data", value={"kind": "digits", "images": counts, **sizes})
    given = {"config", "pretrained", "backbone"} & changes.keys()
    words = (
        ({} if "config" in changes else {"family": family}) | ({} if given else tiny.SIZES[engine, family]) | changes
    )
    side = {"detector": words, "training": {"steps": 1, "batch": 1, "lr": 0.001}}
    for name in ("teacher", "student"):
        write_slice(PAIR, name, value=side)
    write_slice(PAIR, "plain", value={})
    data.make(STUDY)
    torch.manual_seed(0)
    detector = build(engine, words, len(small_data.CLASSES) if resize else CLASSES, "teacher.yaml")
    lively(detector)
    save_weights(detector, paths.teacher(STUDY, PAIR))
    return detector.eval()


@torch.no_grad()
def lively(detector: Detector) -> None:
    """Scores about one half in dense heads, which begin at 0.01, spread ones in transformers, which begin with ties.

    Running statistics that are not the first ones.
    """
    for name, module in detector.model.named_modules():
        if isinstance(module, nn.Conv2d) and name.rsplit(".", 1)[-1] in ("cls_logits", "cls_score"):
            module.bias.zero_()
            module.weight.normal_(std=0.5)
        if isinstance(module, nn.Linear) and ("enc_score_head" in name or "class_embed" in name):
            module.weight.normal_(std=0.5)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.2)


def split() -> Split:
    return manifest.load(STUDY).split("val")


def images() -> list[Tensor]:
    """Of validation, float (3, H, W) in 0..1."""
    return [as_float(split().image(index)) for index in range(len(split()))]


def ours(detector: Detector) -> list[Detections]:
    """What the detector finds in each of them, one by one."""
    return predict(detector, split(), 1)


def photographs() -> list[Path]:
    """Of validation, as they were before the data step shrank them."""
    return [Path("raw", "JPEGImages", Path(record.file_name).stem + ".jpg") for record in split().records]


def told(folder: Path) -> list[str]:
    """The programs of an exported model's card."""
    return re.findall("```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
