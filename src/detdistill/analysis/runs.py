"""All seeds of one recipe, and the figures that they have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from detdistill.analysis.detected import Detected, Reader
from detdistill.analysis.errors import KINDS
from detdistill.analysis.results import PREDICTIONS, Result, read_result
from detdistill.analysis.statistics import Stat, stat
from detdistill.analysis.summary import PRECISIONS, TERCILES, Kind, RunStats
from detdistill.core import paths
from detdistill.core.params import Study

AllRuns = Mapping[tuple[str, str], "Runs"]
"""(pair, recipe) -> its runs; the teacher of a pair is a recipe too."""


@dataclass(frozen=True)
class Runs:
    """The seeds that have results, as text, and what each one left."""

    kind: Kind
    missing: list[int]
    results: dict[str, Result]
    detected: dict[str, Detected]

    def test(self, figure: str) -> dict[str, float]:
        """Seed -> a figure of the test split, where it exists."""
        found = {seed: result.metrics["test"][figure] for seed, result in self.results.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    @property
    def validation(self) -> Stat:
        """AP50 on the validation split: what may choose."""
        return stat({seed: result.metrics["val"]["AP50"] for seed, result in self.results.items()})

    @property
    def resampled(self) -> dict[str, np.ndarray]:
        """Seed -> AP50 in every resample of the test images."""
        return {seed: each.resampled for seed, each in self.detected.items()}

    def timing(self, figure: str) -> dict[str, float]:
        """Seed -> a figure of the training's `timing.json`."""
        return {seed: result.timing[figure] for seed, result in self.results.items()}


def read(study: Study, reader: Reader) -> AllRuns:
    """Every run that the study names. Raises UserError for a result that is unreadable."""
    wanted: list[tuple[str, str, Kind, list[int]]] = [
        (pair.pair, paths.TEACHER, "teacher", [paths.ONCE]) for pair in study.pairs
    ]
    wanted += [(run.pair, run.recipe, "plain", study.seeds) for run in study.plain]
    wanted += [(run.pair, run.recipe, "distilled", study.seeds) for run in study.distilled]
    return {
        (pair, recipe): _runs(study.study, pair, recipe, kind, seeds, reader) for pair, recipe, kind, seeds in wanted
    }


def _runs(study: str, pair: str, recipe: str, kind: Kind, seeds: list[int], reader: Reader) -> Runs:
    read = {seed: read_result(study, pair, recipe, seed) for seed in seeds}
    results = {str(seed): result for seed, result in read.items() if result}
    detected = {seed: reader.read(paths.run(study, pair, recipe, seed, PREDICTIONS)) for seed in results}
    return Runs(kind, [seed for seed, result in read.items() if result is None], results, detected)


def run_stats(runs: Runs) -> RunStats:
    """The figures of a recipe over its seeds."""
    metrics = {seed: result.metrics for seed, result in runs.results.items()}

    def over_seeds(figure: Callable[[dict[str, Any]], float | None]) -> Stat:
        return stat({seed: figure(each) for seed, each in metrics.items()})

    def detected(figure: Callable[[Detected], float | None]) -> Stat:
        return stat({seed: figure(each) for seed, each in runs.detected.items()})

    def largest(name: str) -> int | None:
        return max((each[name] for each in metrics.values() if each[name] is not None), default=None)

    classes = next(iter(metrics.values()))["test"]["per_class"] if metrics else ()
    precisions = {name: stat(runs.test(name)) for name in PRECISIONS}
    return RunStats(
        kind=runs.kind,
        missing=runs.missing,
        **precisions,  # type: ignore[typeddict-item]
        val_AP50=runs.validation,
        voc_AP50_area=over_seeds(lambda each: each["test"]["voc"]["AP50_area"]),
        voc_AP50_11point=over_seeds(lambda each: each["test"]["voc"]["AP50_11point"]),
        per_class_AP50={
            name: over_seeds(lambda each, name=name: each["test"]["per_class"][name]["AP50"])  # type: ignore[misc]
            for name in classes
        },
        errors={kind: detected(lambda each, kind=kind: each.errors.get(kind)) for kind in KINDS},  # type: ignore[misc]
        by_size={size: detected(lambda each, size=size: each.by_size.get(size)) for size in TERCILES},  # type: ignore[misc]
        inside={when: _inside(runs, place) for when, place in (("first", 0), ("last", -1))},
        parameters=largest("parameters"),
        flops=largest("flops"),
        checkpoint_bytes=largest("checkpoint_bytes"),
    )


def _inside(runs: Runs, place: int) -> dict[str, Stat]:
    """Loss -> the share of its gradient inside objects at one of the validations."""
    points = {seed: result.learning[place].get("inside", {}) for seed, result in runs.results.items()}
    losses = dict.fromkeys(loss for point in points.values() for loss in point)
    return {loss: stat({seed: point.get(loss) for seed, point in points.items()}) for loss in losses}
