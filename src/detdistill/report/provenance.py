"""Where a report comes from: commit, digests, versions, machines, and the time that every step took."""

import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detdistill.analysis import slices
from detdistill.analysis.summary import Summary
from detdistill.core import paths, record
from detdistill.core.files import sha256
from detdistill.core.params import Study
from detdistill.dataset.manifest import Manifest

UNKNOWN = "unknown"
_Label = tuple[str, str | None]  # step, pair


@dataclass(frozen=True)
class Commit:
    """The code's commit, `unknown` outside a repository; `dirty` is None there. `time` is in seconds since 1970."""

    name: str
    dirty: bool | None
    time: int


@dataclass(frozen=True)
class Cost:
    """The steps of one pair together: runs, seconds summed over them, and the largest peak of memory in bytes."""

    step: str
    pair: str | None
    runs: int
    wall_seconds: float
    core_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Provenance:
    """Everything that the last page tells; `machines` and `versions` are each distinct value once."""

    commit: Commit
    data_digest: str
    params_digest: str
    params_files: int
    versions: dict[str, list[str]]
    machines: list[dict[str, Any]]
    costs: list[Cost]


def collect(study: Study, summary: Summary, manifest: Manifest) -> Provenance:
    """Read it from the repository, the params, and the times that every step but the report's own has written."""
    groups = _timings(study, summary)
    timings = [timing for _, each in groups for timing in each]
    files = sorted(slices.files(study).values())
    return Provenance(
        commit=commit(),
        data_digest=manifest.digest,
        params_digest=params_digest(files),
        params_files=len(files),
        versions=_versions(timings),
        machines=_distinct([timing["machine"] for timing in timings]),
        costs=[_cost(*label, each) for label, each in groups if each],
    )


def commit(root: Path = Path()) -> Commit:
    """HEAD of the repository around `root`.

    Dirty means that tracked files differ from it, other than the reports and DVC's locks, which running a study
    rewrites.
    """
    head = _git(root, "show", "--no-patch", "--format=%H %ct", "HEAD")
    if head is None:
        return Commit(UNKNOWN, None, 0)
    name, time = head.split()
    ignored = (":(exclude,top)reports", ":(exclude,glob,top)**/dvc.lock")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *ignored)
    return Commit(name, bool(changed), int(time))


def params_digest(files: Sequence[Path]) -> str:
    """SHA-256 over the digests and paths of the params files, in the order of their paths."""
    lines = [f"{sha256(file)}  {file.as_posix()}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _timings(study: Study, summary: Summary) -> list[tuple[_Label, list[dict[str, Any]]]]:
    """(step, pair) -> the timings of its runs, in the order of the work."""
    runs = [(pair.pair, paths.TEACHER, paths.ONCE) for pair in study.pairs]
    plain = [(run.pair, run.recipe, seed) for run in study.plain for seed in study.seeds]
    taught = [(run.pair, run.recipe, seed) for run in study.distilled for seed in study.seeds]
    tuned = [(run.pair, run.recipe, paths.TUNING) for run in study.distilled]
    evaluated = [*runs, *plain, *taught]
    steps: list[tuple[_Label, list[Path]]] = [(("data", None), [paths.data(study.study, "timing.json")])]
    for step, each, name in (
        ("teacher", runs, "timing.json"),
        ("student", plain, "timing.json"),
        ("tune", tuned, "timing.json"),
        ("distill", taught, "timing.json"),
        ("evaluate", evaluated, "evaluation.json"),
    ):
        for pair in summary["pairs"]:
            own = [(recipe, seed) for of, recipe, seed in each if of == pair]
            steps.append(((step, pair), [paths.run(study.study, pair, recipe, seed, name) for recipe, seed in own]))
    steps += [(("latency", pair), [paths.latency(study.study, pair)]) for pair in summary["pairs"]]
    steps.append((("summarize", None), [paths.summary(study.study).with_name("timing.json")]))
    return [(label, [record.read(file) for file in each if file.is_file()]) for label, each in steps]


def _cost(step: str, pair: str | None, timings: list[dict[str, Any]]) -> Cost:
    return Cost(
        step,
        pair,
        len(timings),
        sum(timing["wall_seconds"] for timing in timings),
        sum(timing["core_seconds"] for timing in timings),
        max(timing["peak_memory_bytes"] for timing in timings),
    )


def _versions(timings: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Those that the steps name; one that does not import Detectron2 does not see it."""
    said = [timing["versions"] for timing in timings]
    return {name: _distinct([each[name] for each in said if name in each]) for name in sorted(set().union(*said))}


def _distinct(values: list[Any]) -> list[Any]:
    return [value for index, value in enumerate(values) if value not in values[:index]]
