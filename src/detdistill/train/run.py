"""One training: what it trains, with which parameters, and what it begins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detdistill.core import paths
from detdistill.core.files import sha256
from detdistill.core.params import Pair, Side
from detdistill.dataset.manifest import Manifest


@dataclass(frozen=True)
class Lesson:
    """What a teacher adds to a run."""

    teacher: Pair
    """The pair whose teacher it is."""
    methods: dict[str, dict[str, Any]]
    where: Path
    """The slice that says the methods, for errors."""
    scales: dict[str, float]
    """Method -> what tuning multiplies its weights by; empty where the study does not tune."""


@dataclass(frozen=True)
class Run:
    """What one training needs to know: who it is, its detector, schedule and methods, and what it begins with."""

    study: str
    pair: Pair
    recipe: str
    seed: int
    side: Side
    side_file: Path
    begin: Path
    """A checkpoint for backbone and neck; else the manifest: from nothing."""
    schedule_factor: float = 1.0
    lesson: Lesson | None = None

    @property
    def steps(self) -> int:
        return round(self.side.training.steps * self.schedule_factor)

    def path(self, name: str) -> Path:
        return paths.run(self.study, self.pair.pair, self.recipe, self.seed, name)

    @property
    def title(self) -> str:
        return f"{self.pair.pair} {self.recipe} {self.seed}"

    @property
    def files(self) -> list[Path]:
        """What determines the run beside the code, as it lies on the disk."""
        own = [paths.data(self.study, "manifest.json"), self.side_file, self.begin]
        if self.recipe != paths.TEACHER:
            own.append(paths.params(self.study, self.pair.pair, self.recipe))
        if self.lesson:
            teacher = self.lesson.teacher.pair
            own += [self.lesson.where, paths.params(self.study, teacher, "teacher"), paths.teacher(self.study, teacher)]
            if self.lesson.scales:
                own.append(paths.tuning(self.study, self.pair.pair, self.lesson.where.stem, "tuning.json"))
        return own

    def identity(self, manifest: Manifest) -> dict[str, Any]:
        """Everything beside the code that determines the bytes of the run."""
        identity = {
            "run": [self.title, self.study],
            "side": self.side.model_dump(),
            "steps": self.steps,
            "data": manifest.digest,
            "begin": sha256(self.begin),
        }
        if self.lesson:
            identity["methods"] = [self.lesson.methods, self.lesson.scales]
            identity["teacher"] = sha256(paths.teacher(self.study, self.lesson.teacher.pair))
        return identity
