"""A project without a checkout: the workflow, the profiles and two studies, laid into a folder of the user's.

The wheel holds these files below `detdistill/project`; a checkout has them at its root.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from detdistill import pipeline
from detdistill.core.errors import UserError

STUDIES = ("digits", "smoke")
PARTS = (
    "Snakefile",
    "workflow/rules",
    "workflow/report",
    "workflow/envs",
    "profiles",
    *(f"params/{study}" for study in STUDIES),
    ".gitignore",
    ".dvcignore",
    ".dvc/config",
    ".dvc/plots.html",
    ".dvc/.gitignore",
)
PACKAGE = Path(__file__).resolve().parent
_UNWANTED = shutil.ignore_patterns("__pycache__", "dvc.yaml", "dvc.lock", "environment.py", "detectron2.py")


def init(folder: Path) -> None:
    """Lay the parts into the folder, with a `dvc.yaml` for each study; everything or, when a part is there, nothing.

    Raises:
        UserError: a part that is there already, or a folder that cannot be written.
    """
    if taken := [part for part in PARTS if (folder / part).exists()]:
        raise UserError(f"{folder / taken[0]}: is there already; init writes only where nothing is in its way")
    shipped = PACKAGE / "project"
    parts = shipped if shipped.is_dir() else PACKAGE.parents[1]
    try:
        for part in PARTS:
            _copy(parts / part, folder / part)
        with contextlib.chdir(folder):
            for study in STUDIES:
                pipeline.write(study)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None


def _copy(part: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if part.is_dir():
        shutil.copytree(part, target, ignore=_UNWANTED)
    else:
        shutil.copyfile(part, target)
