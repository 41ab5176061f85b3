"""One training: what it trains, with which parameters, and what it begins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detdistill.core import paths
from detdistill.core.files import sha256
from detdistill.core.params import DistilledRun, Recipe, Side, Trained
from detdistill.dataset.manifest import Manifest


@dataclass(frozen=True)
class Run:
    """What one training needs to know: who it is, its detector, schedule and methods, and what it begins with."""

    study: str
    listed: Trained
    recipe: str
    seed: int
    side: Side
    side_file: Path
    methods: Recipe
    begin: Path
    """The start of its pair, whole; else a checkpoint for backbone and neck; else the manifest: from nothing."""

    @property
    def steps(self) -> int:
        return round(self.side.training.steps * self.methods.schedule_factor)

    def path(self, name: str) -> Path:
        return paths.run(self.study, self.listed.pair, self.recipe, self.seed, name)

    @property
    def title(self) -> str:
        return f"{self.listed.pair} {self.recipe} {self.seed}"

    def identity(self, manifest: Manifest) -> dict[str, Any]:
        """Everything beside the code that determines the bytes of the run."""
        identity = {
            "run": [self.title, self.study],
            "side": self.side.model_dump(),
            "methods": self.methods.model_dump(),
            "data": manifest.digest,
            "begin": sha256(self.begin),
        }
        if isinstance(self.listed, DistilledRun):
            identity["teacher"] = sha256(paths.teacher(self.study, self.listed.teaching.pair))
        return identity
