"""Images a second of our training loop beside Detectron2's DefaultTrainer: same model and images, one core, in turns.

    python tests/bench_detectron2.py [IMAGES] [SIZE] [DEPTH] [STEPS]

Both sides train with SGD without AMP, read PNG files and neither resize nor mirror. DefaultTrainer runs as it is, with
its own optimiser, loader, hooks and writers, but TensorBoard's. Ours is the loop of `detdistill teacher`; it can keep
decoded images in memory (`cache_images`) and is told both ways. Neither side clips gradients. Validation and
checkpoints of neither side are timed. Nothing here is asserted.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import sys
import tempfile
from typing import Any

import native
import torch
import yaml
from torch import nn

from detdistill import data
from detdistill.core import paths
from detdistill.core.files import read_json
from detdistill.core.timing import measure
from detdistill.dataset.manifest import Split, load
from detdistill.detectors import build
from detdistill.train import step as train

REPEATS = 3
BATCH = 2
LR = 1e-4
STUDY = "bench"


def main(images: int = 16, size: int = 160, depth: int = 18, steps: int = 8) -> None:
    if importlib.util.find_spec("detectron2") is None:
        sys.exit("error: nothing to measure: Detectron2 is not installed")
    torch.set_num_threads(1)
    detector = {"family": "faster_rcnn", "depth": depth, "norm": "BN", "freeze": 0, "roi_batch": 128}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        _write_study(images, size, detector, steps)
        data.make(STUDY)
        manifest = load(STUDY)
        train_split = manifest.split("train")
        loops = {
            "ours": lambda: _ours(steps, cache=False),
            "ours, images in memory": lambda: _ours(steps, cache=True),
            "DefaultTrainer": lambda: _theirs(train_split, manifest.classes, detector, steps, folder),
        }
        rates: dict[str, list[dict[str, float]]] = {name: [] for name in loops}
        for _ in range(REPEATS):
            for name, loop in loops.items():
                rates[name].append(loop())
    for name, found in rates.items():
        for unit in ("second", "core-second"):
            ratios = [one[unit] / other[unit] for one, other in zip(found, rates["DefaultTrainer"], strict=True)]
            told = f"{statistics.median(one[unit] for one in found):.2f} images a {unit}"
            alone = ", ".join(f"{ratio:.3f}" for ratio in ratios)
            print(f"{name}: {told}, {statistics.median(ratios):.3f} x DefaultTrainer ({alone})")


def _write_study(images: int, size: int, detector: dict[str, Any], steps: int) -> None:
    def write(*slice_: str, value: Any) -> None:
        file = paths.params(STUDY, *slice_)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(value))

    begin = str(paths.data(STUDY, "manifest.json"))
    pair = {"pair": "pair", "engine": "detectron2", "teacher_from": begin, "student_from": begin}
    study = {"study": STUDY, "title": STUDY, "seeds": [0], "pairs": [pair]}
    write("study", value=study | {"plain": [{"pair": "pair", "recipe": "plain"}], "distilled": []})
    counts = {"train": images, "val": 1, "test": 1}
    write("data", value={"kind": "digits", "images": counts, "image_size": size, "digit_size": {"low": 14, "high": 32}})
    for cache in (False, True):
        training = {"steps": steps, "batch": BATCH, "optimizer": "sgd", "lr": LR, "cache_images": cache}
        training |= {"clip_norm": None, "evaluations": 1, "evaluate_images": 1, "checkpoint_every": steps}
        write("pair", f"cache_{cache}", value={"detector": detector, "training": training})


def _ours(steps: int, cache: bool) -> dict[str, float]:
    """Images a second and a core-second as a run writes them: training without validation."""
    for side in ("teacher", "student"):
        file = paths.params(STUDY, "pair", side)
        file.write_text(paths.params(STUDY, "pair", f"cache_{cache}").read_text())
    train.train_teacher(STUDY, "pair")
    timing = read_json(paths.run(STUDY, "pair", paths.TEACHER, paths.ONCE, "timing.json"))
    return {"second": timing["images_per_second"], "core-second": steps * BATCH / timing["training_core_seconds"]}


def _theirs(split: Split, classes: list[str], params: dict[str, Any], steps: int, folder: str) -> dict[str, float]:
    """DefaultTrainer with its own hooks, writers and mapper, told only what is trained and how long."""
    from detectron2.config import get_cfg
    from detectron2.data import DatasetCatalog
    from detectron2.engine import DefaultTrainer, HookBase
    from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter

    class Clock(HookBase):
        """Registered first, so what the other hooks do after the last step, its checkpoint above all, is not timed."""

        def before_train(self) -> None:
            self.cost = measure("loop").__enter__()

        def after_step(self) -> None:
            self.spent = self.cost.spent()

    class Trainer(DefaultTrainer):
        @classmethod
        def build_model(cls, cfg: Any) -> nn.Module:
            return build("detectron2", params, len(classes)).model

        def build_hooks(self) -> list[HookBase]:
            return [clock, *super().build_hooks()]

        def build_writers(self) -> list[EventWriter]:
            """Its own but TensorBoard's, a package that neither side needs."""
            return [CommonMetricPrinter(steps), JSONWriter(os.path.join(folder, "metrics.json"))]

    if STUDY not in DatasetCatalog:
        DatasetCatalog.register(STUDY, lambda: native.detectron2_dicts(split, paths.data(STUDY, "images")))
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.DATALOADER.NUM_WORKERS = (STUDY,), (), 0
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (0,), "none"
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS = BATCH, steps, LR, ()
    cfg.OUTPUT_DIR = folder
    torch.use_deterministic_algorithms(False)  # as it runs by itself; ours turns them on
    torch.manual_seed(0)
    clock = Clock()
    Trainer(cfg).train()
    images = steps * BATCH
    return {"second": images / clock.spent.wall_seconds, "core-second": images / clock.spent.core_seconds}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
