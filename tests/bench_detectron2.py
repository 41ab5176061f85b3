"""Images a second of our training loop beside Detectron2's own trainer: same model, images and optimiser, in turns.

    python tests/bench_detectron2.py [IMAGES] [SIZE] [DEPTH] [STEPS]

Detectron2's side is its SimpleTrainer (what DefaultTrainer runs a step with) with AMP off, its data loader, mapper and
no resizing; ours is the loop of `train.py`: reading, gradient clipping, checks and curve included. Images are in PNG
files. Ours can keep decoded images in memory (`cache_images`) and is told both ways. Nothing here is asserted.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from detdistill import data
from detdistill.core import paths
from detdistill.core.files import read_json
from detdistill.dataset.manifest import Manifest, load
from detdistill.detectors import build
from detdistill.train import step as train

REPEATS = 3
BATCH = 2
STUDY = "bench"


def main(images: int = 16, size: int = 160, depth: int = 18, steps: int = 12) -> None:
    if importlib.util.find_spec("detectron2") is None:
        sys.exit("error: nothing to measure: Detectron2 is not installed")
    torch.set_num_threads(1)
    detector = {"family": "faster_rcnn", "depth": depth, "norm": "BN", "freeze": 0}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        _write_study(images, size, detector, steps)
        data.make(STUDY)
        manifest = load(STUDY)
        loops = {
            "ours": lambda: _ours(steps, cache=False),
            "ours, images in memory": lambda: _ours(steps, cache=True),
            "Detectron2": lambda: _theirs(manifest, detector, steps),
        }
        rates: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(REPEATS):
            for name, loop in loops.items():
                rates[name].append(loop())
    for name, found in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(found, rates["Detectron2"], strict=True)]
        print(f"{name}: {statistics.median(found):.2f} images/s, {statistics.median(ratios):.3f} x Detectron2 {ratios}")


def _write_study(images: int, size: int, detector: dict[str, Any], steps: int) -> None:
    def write(*slice_: str, value: Any) -> None:
        file = paths.params(STUDY, *slice_)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(value))

    begin = str(paths.data(STUDY, "manifest.json"))
    named = {"pair": "pair", "engine": "detectron2"}
    pair = named | {"teacher_from": begin, "student_from": begin}
    study = {"study": STUDY, "title": STUDY, "seeds": [0], "pairs": [pair], "plain": [named | {"recipe": "plain"}]}
    write("study", value=study | {"distilled": [], "across": []})
    counts = {"train": images, "val": 1, "test": 1}
    write("data", value={"kind": "digits", "images": counts, "image_size": size, "digit_size": {"low": 14, "high": 32}})
    for cache in (False, True):
        training = {"steps": steps, "batch": BATCH, "optimizer": "sgd", "lr": 1e-4, "cache_images": cache}
        training |= {"evaluations": 1, "evaluate_images": 1, "checkpoint_every": steps}
        write("pair", f"cache_{cache}", value={"detector": detector, "training": training})


def _ours(steps: int, cache: bool) -> float:
    """The rate that a run writes: training without validation."""
    for side in ("teacher", "student"):
        file = paths.params(STUDY, "pair", side)
        file.write_text(paths.params(STUDY, "pair", f"cache_{cache}").read_text())
    train.train_teacher(STUDY, "pair")
    return read_json(paths.run(STUDY, "pair", paths.TEACHER, paths.ONCE, "timing.json"))["images_per_second"]


def _theirs(manifest: Manifest, params: dict[str, Any], steps: int) -> float:
    from detectron2.data import DatasetMapper, build_detection_train_loader
    from detectron2.engine import SimpleTrainer
    from detectron2.structures import BoxMode

    split = manifest.split("train")
    dicts = [
        {
            "file_name": str(Path(paths.data(STUDY, "images"), record.file_name)),
            "image_id": record.image_id,
            "height": record.height,
            "width": record.width,
            "annotations": [
                {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label}
                for box, label in zip(record.boxes.tolist(), record.labels.tolist(), strict=True)
            ],
        }
        for record in split.records
    ]
    mapper = DatasetMapper(is_train=True, augmentations=[], image_format="BGR")
    loader = build_detection_train_loader(dicts, mapper=mapper, total_batch_size=BATCH, num_workers=0)
    torch.manual_seed(0)
    model = build("detectron2", params, len(manifest.classes)).model
    optimise = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    trainer = SimpleTrainer(model, loader, optimise)
    began = time.perf_counter()
    trainer.train(0, steps)
    return steps * BATCH / (time.perf_counter() - began)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
