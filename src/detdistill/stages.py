"""The steps of a study, each by a name that says what it is (`distill-faster_rcnn-pkd-0`), as DVC runs them.

The Snakefile is the same DAG, written by hand; a test holds the two equal. DVC takes whole folders of source, because
each file listed makes its lock slower to read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detdistill.core import paths
from detdistill.core.params import DistilledRun, Pair, PlainRun, Study, load_recipe, load_tuning

CURVES = {"curve.csv": {"x": "step", "y": "loss"}, "learning.json": {"x": "step", "y": "AP50"}}
FIGURES = ("taxonomy", "gains", "curves", "schedules", "cost", "pareto", "classes", "detections", "maps", "dag")
OWN = Path("src/detdistill")
"""A checkout's source; a folder that `detdistill init` made has none."""

READING = ("core", "dataset")
DETECTING = (*READING, "detectors")
DISTILLING = ("distill/__init__.py", "distill/answers.py", "distill/base.py")
JUDGING = (
    *READING,
    "detectors/__init__.py",
    "detectors/base.py",
    *DISTILLING,
    "distill/taxonomy.py",
    "evaluate/predict.py",
    "evaluate/predictions.py",
    "analysis",
)
TRAINING = (*DETECTING, *DISTILLING, "evaluate/coco.py", "evaluate/predict.py", "train")


@dataclass
class Stage:
    """One step: its command without the study, and its files below the project's root."""

    name: str
    desc: str
    command: str
    deps: list[Path]
    params: list[Path]
    outs: list[Path]
    metrics: list[Path] = field(default_factory=list)
    plots: dict[Path, dict[str, str]] = field(default_factory=dict)
    cached: bool = True
    """Whether DVC keeps the outputs; those that are not are small and kept in Git."""

    def entry(self, study: str, wdir: str | None) -> dict[str, Any]:
        """The stage as `dvc.yaml` has it; without a `wdir`, the file lies at the root."""
        lists: dict[str, list[Any]] = {
            "deps": sorted({path.as_posix() for path in self.deps}),
            "params": [{path.as_posix(): None} for path in self.params],
            "metrics": [path.as_posix() for path in self.metrics],
            "outs": [path.as_posix() if self.cached else {path.as_posix(): {"cache": False}} for path in self.outs],
            "plots": [{path.as_posix(): dict(axes)} for path, axes in self.plots.items()],
        }
        head = {"desc": self.desc, "cmd": f"detdistill {self.command} --study {study}"}
        return head | ({"wdir": wdir} if wdir else {}) | {name: entries for name, entries in lists.items() if entries}


def source() -> Path:
    """Where the code that the steps run lies: in the project itself, else in the installed package."""
    return OWN if OWN.is_dir() else Path(__file__).resolve().parent


def everything(path: Path) -> list[Path]:
    """The file, or every source file below the folder."""
    below = (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return sorted(below) if path.is_dir() else [path]


def method_sources(study: str, run: DistilledRun) -> list[Path]:
    """The files of the package's `distill` that a recipe's methods are written in."""
    methods = load_recipe(study, run.pair, run.source).methods
    known = {file.stem: file for file in sorted((source() / "distill").glob("*/*/*.py"))}
    return _with_imports(known[method] for method in methods if method in known)  # `check` names the unknown


def _with_imports(files: Iterable[Path]) -> list[Path]:
    """These files and those of their own taxonomy folders that they import, in turn."""
    found: set[Path] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for name in _imported(file):
            imported = source().joinpath(*name.split(".")[1:]).with_suffix(".py")
            if imported.is_file() and imported.name not in ("base.py", "answers.py"):
                waiting.append(imported)
    return sorted(found)


def _imported(file: Path) -> Iterator[str]:
    """What may be modules of the taxonomy's folders, among the names that a file of one imports."""
    package = ["detdistill", *file.relative_to(source()).parent.parts]
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.startswith("detdistill.distill."))


def stages(study: Study) -> Iterator[Stage]:
    """Every step of a study, in the order of the work."""
    name = study.study
    yield Stage(
        "data",
        f"Make the images of {name}, their annotations and the manifest",
        "data",
        _source(*READING, "data"),
        [paths.params(name, "data")],
        [paths.data(name, file) for file in ("images", "train.json", "val.json", "test.json")]
        + [paths.data(name, file) for file in ("manifest.json", "timing.json")],
    )
    for pair in study.pairs:
        yield _teacher(name, pair)
        yield _evaluate(name, pair, paths.TEACHER, paths.ONCE)
    for run in study.plain:
        for seed in study.seeds:
            yield _student(study, run, seed)
            yield _evaluate(name, study.pair(run.pair), run.recipe, seed)
    tuned = load_tuning(name) is not None
    for run in study.distilled:
        reads = [*_begins(study, study.pair(run.pair)), *_taught(study, run)]
        if tuned and not run.like:
            yield _tune(study, run, reads)
        if tuned:
            reads += [paths.tuning(name, run.pair, run.source, "tuning.json"), paths.params(name, "tuning")]
        for seed in study.seeds:
            yield _distill(study, run, seed, reads)
            yield _evaluate(name, study.pair(run.pair), run.recipe, seed)
    for pair in study.pairs:
        yield _latency(study, pair)
    yield _summarize(study)
    yield _report(study)


def _source(*places: str) -> list[Path]:
    """Folders of the project's own source; of an installed package the files, beside which Python keeps its caches."""
    found = [source() / place for place in places]
    return found if source() == OWN else [file for each in found for file in everything(each)]


def _engine(pair: Pair) -> list[Path]:
    return _source(f"engines/{pair.engine}")


def _manifest(study: str) -> Path:
    return paths.data(study, "manifest.json")


def _model(study: str, pair: str, recipe: str, seed: int) -> Path:
    return paths.run(study, pair, recipe, seed, "model.safetensors")


def _trained(study: str, pair: str, recipe: str, seed: int) -> dict[str, Any]:
    """The outputs of a training."""
    files = ("model.safetensors", "timing.json")
    return {
        "outs": [paths.run(study, pair, recipe, seed, file) for file in files],
        "plots": {paths.run(study, pair, recipe, seed, file): axes for file, axes in CURVES.items()},
    }


def _teacher(study: str, pair: Pair) -> Stage:
    return Stage(
        f"teacher-{pair.pair}",
        f"Train the teacher of {pair.pair}",
        f"teacher {pair.pair}",
        [_manifest(study), Path(pair.teacher_from), *_source(*TRAINING), *_engine(pair)],
        [paths.params(study, pair.pair, "teacher")],
        **_trained(study, pair.pair, paths.TEACHER, paths.ONCE),
    )


def _begins(study: Study, pair: Pair) -> list[Path]:
    """What every training of a student of the pair reads, the data and the source among it."""
    slice_ = paths.params(study.study, pair.pair, "student")
    return [_manifest(study.study), Path(pair.student_from), slice_, *_source(*TRAINING), *_engine(pair)]


def _student(study: Study, run: PlainRun, seed: int) -> Stage:
    return Stage(
        f"student-{run.pair}-{run.recipe}-{seed}",
        f"Train a student of {run.pair} without a teacher, {run.recipe}, seed {seed}",
        f"student {run.pair} {run.recipe} {seed}",
        _begins(study, study.pair(run.pair)),
        [paths.params(study.study, run.pair, run.recipe)],
        **_trained(study.study, run.pair, run.recipe, seed),
    )


def _taught(study: Study, run: DistilledRun) -> list[Path]:
    """What the teacher adds to `_begins`: its parameters and weights, its engine, and the methods."""
    name, teacher = study.study, study.pair(run.teaching)
    return [
        paths.params(name, teacher.pair, "teacher"),
        paths.teacher(name, teacher.pair),
        *_engine(teacher),
        *method_sources(name, run),
    ]


def _tune(study: Study, run: DistilledRun, reads: list[Path]) -> Stage:
    name = study.study
    return Stage(
        f"tune-{run.pair}-{run.recipe}",
        f"Find the weight of {run.recipe} for {run.pair}, on the validation split",
        f"tune {run.pair} {run.recipe}",
        [*reads, *_source("tune.py")],
        [paths.params(name, "tuning"), paths.params(name, run.pair, run.recipe)],
        [paths.tuning(name, run.pair, run.recipe, file) for file in ("tuning.json", "timing.json")],
    )


def _distill(study: Study, run: DistilledRun, seed: int, reads: list[Path]) -> Stage:
    name = study.study
    like = [paths.params(name, run.pair, run.like)] if run.like else []
    return Stage(
        f"distill-{run.pair}-{run.recipe}-{seed}",
        f"Distil a student of {run.pair}, {run.recipe}, seed {seed}",
        f"distill {run.pair} {run.recipe} {seed}",
        [*reads, *like],
        [paths.params(name, run.pair, run.recipe)],
        **_trained(name, run.pair, run.recipe, seed),
    )


def _evaluate(study: str, pair: Pair, recipe: str, seed: int) -> Stage:
    files = ("metrics.json", "predictions.safetensors", "maps.safetensors", "evaluation.json")
    return Stage(
        f"evaluate-{pair.pair}-{recipe}-{seed}",
        f"Evaluate {recipe} of {pair.pair}, seed {seed}",
        f"evaluate {pair.pair} {recipe} {seed}",
        [
            _manifest(study),
            paths.side(study, pair.pair, recipe),
            _model(study, pair.pair, recipe, seed),
            *_source(*DETECTING, "evaluate"),
            *_engine(pair),
        ],
        [],
        [paths.run(study, pair.pair, recipe, seed, file) for file in files],
        [paths.run(study, pair.pair, recipe, seed, "headline.json")],
    )


def _latency(study: Study, pair: Pair) -> Stage:
    name = study.study
    return Stage(
        f"latency-{pair.pair}",
        f"Measure how long teacher and student of {pair.pair} take for an image, alone on the machine",
        f"latency {pair.pair}",
        [
            _manifest(name),
            *(paths.params(name, pair.pair, side) for side in ("teacher", "student")),
            paths.teacher(name, pair.pair),
            _model(name, pair.pair, study.stand_in(pair.pair), study.seeds[0]),
            *_source(*DETECTING, "evaluate"),
            *_engine(pair),
        ],
        [],
        [paths.latency(name, pair.pair)],
    )


def _summarize(study: Study) -> Stage:
    name = study.study
    return Stage(
        "summarize",
        f"Statistics over all runs of {name}",
        "summarize",
        # DVC cannot list so many files and stay quick, so this folder stands for every output of every run.
        [_manifest(name), paths.data(name, "test.json"), Path("runs", name), *_source(*JUDGING)],
        [paths.params(name, "study")],
        [paths.summary(name), *(paths.summary(name).with_name(f) for f in ("cost.json", "timing.json"))],
        cached=False,
    )


def _report(study: Study) -> Stage:
    name = study.study
    return Stage(
        "report",
        f"Draw the figures and print the report of {name}",
        "report",
        [
            _manifest(name),
            *(paths.data(name, file) for file in ("val.json", "timing.json")),
            Path("runs", name),
            *(paths.summary(name).with_name(f) for f in ("summary.json", "cost.json", "timing.json")),
            *_source(*JUDGING, "distill", "evaluate/maps.py", "train/history.py", "report"),
        ],
        [paths.params(name, "study")],
        [paths.report(name).with_suffix(kind) for kind in (".pdf", ".html")]
        + [paths.figure(name, figure) for figure in FIGURES],
        cached=False,
    )
