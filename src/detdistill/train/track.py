"""Curves that other programs show while a run trains: TensorBoard or DVCLive, written by accelerate's trackers.

The switch is a variable of the environment and no parameter: a run has the same bytes with and without.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator
from scmrepo.exceptions import SCMError

from detdistill.core import paths
from detdistill.core.errors import UserError, near
from detdistill.core.files import write_atomic
from detdistill.train.history import History
from detdistill.train.run import Run

VARIABLE = "DETDISTILL_TRACKERS"
FOLDERS = {"dvclive": Path("dvclive"), "tensorboard": paths.SCRATCH / "tensorboard"}
"""Tracker -> where it writes, a folder a run."""
SHOWN = {"metrics": ["metrics.json"], "plots": [{"plots/metrics": {"x": "step"}}]}
"""A run's `dvc.yaml`, by which `dvc metrics`, `dvc plots` and `dvc exp show` find its curves by themselves."""


def options() -> dict[str, Any]:
    """What `Accelerator` is to be told of the trackers that the environment names, separated by commas.

    Raises UserError for an unknown tracker, and for one that is not installed.
    """
    named = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in named:
        if name not in FOLDERS:
            raise UserError(f"{VARIABLE}: no tracker {name!r}{near(name, FOLDERS)}")
        if find_spec(name) is None:
            raise UserError(f"{VARIABLE}: {name} is not installed: pip install 'detdistill[{name}]'")
    return {"log_with": named, "project_dir": FOLDERS["tensorboard"]} if named else {}


class Tracking:
    """Tells an accelerator's trackers, if it has any, what a run's history is told. A context manager.

    A resumed run tells them again what its checkpoint knows: what was told after that will be told anew.
    """

    def __init__(self, accelerator: Accelerator, run: Run, history: History):
        self._accelerator, self._history = accelerator, history
        self._run = Path(run.study, run.pair.pair, run.recipe, str(run.seed))

    def __enter__(self) -> Tracking:
        if self._accelerator.log_with and self._accelerator.is_main_process:
            for folder in FOLDERS.values():
                shutil.rmtree(folder / self._run, ignore_errors=True)
            live = FOLDERS["dvclive"] / self._run
            own = {"dvclive": {"dir": str(live), "dvcyaml": None, "save_dvc_exp": False}}
            try:
                self._accelerator.init_trackers(str(self._run), init_kwargs=own)
            except SCMError as error:  # DVCLive asks Git for the commit
                raise UserError(f"{VARIABLE}: dvclive needs a Git repository with a commit: {error}") from None
            if any(tracker.name == "dvclive" for tracker in self._accelerator.trackers):
                write_atomic(live / "dvc.yaml", yaml.safe_dump(SHOWN).encode())
            for row in self._history.curve:
                self.losses(row)
            for point in self._history.learning:
                self.validated(point)
        return self

    def __exit__(self, *exception: object) -> None:
        for tracker in self._accelerator.trackers:
            tracker.finish()

    def losses(self, row: Mapping[str, float]) -> None:
        """Tell a row of the curve."""
        self._accelerator.log({name: value for name, value in row.items() if name != "step"}, step=int(row["step"]))

    def validated(self, point: Mapping[str, Any]) -> None:
        """Tell the average precision on the validation split, where it is defined."""
        found = {f"validation.{name}": point[name] for name in ("AP", "AP50") if point[name] is not None}
        self._accelerator.log(found, step=point["step"])
