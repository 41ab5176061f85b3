"""A trained run with all that its users need to know of it, read from its files and held against their digests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detdistill.analysis.matching import match
from detdistill.analysis.precision import best_threshold
from detdistill.analysis.results import PREDICTIONS, read_scenes
from detdistill.analysis.summary import RunStats, Summary
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import read_json
from detdistill.core.params import DistilledRun, load_recipe, load_study
from detdistill.core.record import intact
from detdistill.data import read as read_data
from detdistill.data.reading import Reading
from detdistill.dataset import manifest
from detdistill.dataset.manifest import Manifest
from detdistill.detectors.base import Detector
from detdistill.evaluate.trained import trained

CHOOSING = "val"
"""The split that the threshold is chosen on."""


@dataclass(frozen=True)
class Trained:
    """One run. What only an evaluated run has is None before: `metrics` and `threshold`; `stats` needs the summary."""

    study: str
    title: str
    pair: str
    recipe: str
    seed: int
    engine: str
    params: dict[str, Any]
    """The `detector` of its slice."""
    detector: Detector
    weights: Path
    classes: list[str]
    data: dict[str, Any]
    """The digest of the data, their kind, and split -> number of images."""
    image_size: tuple[int, int] | None
    """(H, W) of all images of the validation split, None where they differ."""
    resize: int | None
    """Pixels of the longest side that the study's images were shrunk to; None: they are as they came."""
    teacher: str | None
    """The pair whose teacher it learned from."""
    methods: list[str]
    metrics: dict[str, Any] | None
    threshold: float | None
    """The score of the highest F1 on validation."""
    stats: RunStats | None
    """Of all seeds of its recipe."""


def read(study: str, pair: str, recipe: str, seed: int) -> Trained:
    """Read a run.

    Raises:
        UserError: an unknown pair or recipe, a missing, damaged or foreign checkpoint or result, altered data.
    """
    plan, data = load_study(study), manifest.load(study)
    if recipe == paths.TEACHER and seed != paths.ONCE:
        raise UserError(f"a pair's teacher is trained once: its seed is {paths.ONCE}, found {seed}")
    detector, side = trained(study, pair, recipe, seed, data)
    run = None if recipe == paths.TEACHER else plan.recipe(pair, recipe)
    metrics = _metrics(paths.run(study, pair, recipe, seed, "metrics.json"))
    return Trained(
        study=study,
        title=plan.title,
        pair=pair,
        recipe=recipe,
        seed=seed,
        engine=plan.pair(pair).engine,
        params=side.detector,
        detector=detector.eval(),
        weights=paths.run(study, pair, recipe, seed, "model.safetensors"),
        classes=data.classes,
        data={
            "digest": data.digest,
            "kind": data.kind,
            "images": {name: split.images for name, split in data.splits.items()},
        },
        image_size=_image_size(data),
        resize=_resize(study, data),
        teacher=run.teaching if isinstance(run, DistilledRun) else None,
        methods=list(load_recipe(study, pair, run.source).methods) if isinstance(run, DistilledRun) else [],
        metrics=metrics,
        threshold=_threshold(paths.run(study, pair, recipe, seed, PREDICTIONS), data) if metrics else None,
        stats=_stats(study, pair, recipe, seed, metrics) if metrics else None,
    )


def _metrics(path: Path) -> dict[str, Any] | None:
    return read_json(intact(path)) if path.is_file() else None


def _image_size(data: Manifest) -> tuple[int, int] | None:
    sizes = {(record.height, record.width) for record in data.split(CHOOSING).records}
    return sizes.pop() if len(sizes) == 1 else None


def _resize(study: str, data: Manifest) -> int | None:
    """What `data.yaml` says. Raises UserError where the images show that they were made with another value."""
    params = read_data(study)[1]
    if not isinstance(params, Reading):
        return None
    largest = max(max(record.height, record.width) for record in data.split(CHOOSING).records)
    if (params.resize is None) != (data.folder is not None) or (params.resize or largest) < largest:
        raise UserError(
            f"{paths.params(study, 'data')}: resize: {params.resize}, but the images were made with another value; "
            f"run `detdistill data --study {study}` and the study again"
        )
    return params.resize


def _threshold(predictions: Path, data: Manifest) -> float:
    scenes = read_scenes(predictions, CHOOSING, data.split(CHOOSING).records)
    return best_threshold(match(scenes, len(data.classes)))


def _stats(study: str, pair: str, recipe: str, seed: int, metrics: dict[str, Any]) -> RunStats | None:
    """From the study's summary, where that is of this very run: another training's figures say nothing of it."""
    path = paths.summary(study)
    if not path.is_file():
        return None
    summary: Summary = read_json(intact(path))  # type: ignore[assignment]
    content = summary["pairs"].get(pair)
    if content is None:
        return None
    stats: RunStats | None = content["teacher"] if recipe == paths.TEACHER else content["recipes"].get(recipe)
    return stats if stats and stats["AP50"]["values"].get(str(seed)) == metrics["test"]["AP50"] else None
