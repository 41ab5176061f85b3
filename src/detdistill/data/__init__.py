"""The data step: `params/STUDY/data.yaml` names a kind, and the module of that name in this folder makes the data.

A new kind is a new module with `Params`, a slice. One that makes its images has `make(params, study)`; one that reads
what is there derives its `Params` from `Reading` and has `load(params, where)`, which gives the raw annotations.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from detdistill.core import paths
from detdistill.core.errors import UserError, near
from detdistill.core.params import Slice, parse, read_yaml
from detdistill.core.timing import measure
from detdistill.data.annotate import write
from detdistill.data.reading import Reading

_NOT_KINDS = {"annotate", "download", "drawing", "faults", "hold_out", "png", "reading", "tree", "unpack"}


def make(study: str) -> None:
    """Write the images, annotations, manifest and timing of a study. Raises UserError for params that are wrong."""
    module, params = read(study)
    with measure("data") as cost:
        if isinstance(params, Reading):
            write(study, params, module.load(params, str(paths.params(study, "data"))))
        else:
            module.make(params, study)
    cost.record(paths.data(study, "timing.json"), ("manifest.json", "train.json", "val.json", "test.json"))


def read(study: str) -> tuple[ModuleType, Slice]:
    """The module of the study's kind of data, and `data.yaml`. Raises UserError for params that are wrong."""
    path = paths.params(study, "data")
    if not path.exists():
        known = [file.parent.name for file in paths.PARAMS.glob("*/data.yaml")]
        raise UserError(f"{path}: no study {study!r}{near(study, known)}")
    return parsed(read_yaml(path), str(path))


def parsed(values: Any, where: str) -> tuple[ModuleType, Slice]:
    """The module of a kind of data, and the content of its `data.yaml`. Raises UserError that starts with `where`."""
    kinds = {module.name for module in iter_modules(__path__)} - _NOT_KINDS
    kind = values.get("kind") if isinstance(values, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise UserError(f"{where}: kind: no kind of data {kind!r}{near(kind, kinds)}")
    module = import_module(f"{__name__}.{kind}")
    return module, parse(module.Params, values, where)
