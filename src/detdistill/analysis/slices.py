"""A digest for each parameter slice, by its meaning: comments, the title and the choice of seeds do not count."""

import hashlib
from pathlib import Path
from typing import Any

from detdistill.core import paths
from detdistill.core.files import json_bytes
from detdistill.core.params import Study, read_yaml

IDENTITY = ("title", "seeds")


def digests(study: Study) -> dict[str, str]:
    """Slice -> SHA-256: `{"study": ..., "data": ..., "faster_rcnn/pkd": ...}`."""
    return {name: _digest(read_yaml(file)) for name, file in files(study).items()}


def files(study: Study) -> dict[str, Path]:
    """Slice -> its file: all that a result depends on."""
    names: list[tuple[str, ...]] = [("study",), ("data",), ("tuning",)]
    names += [(pair.pair, side) for pair in study.pairs for side in (paths.TEACHER, paths.STUDENT)]
    names += [(run.pair, run.recipe) for run in [*study.plain, *study.distilled]]
    found = {"/".join(name): paths.params(study.study, *name) for name in names}
    return {name: file for name, file in found.items() if file.exists()}


def _digest(content: Any) -> str:
    content = {key: value for key, value in (content or {}).items() if key not in IDENTITY}
    return hashlib.sha256(json_bytes(content)).hexdigest()
