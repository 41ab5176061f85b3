"""Where each step's files live. Every path is relative to the project root, where the commands run."""

from pathlib import Path

DEFAULT_STUDY = "digits"
"""The one whose `dvc.yaml` is at the root."""
TEACHER = "teacher"
ONCE = 0
"""The seed of what a pair trains once: its teacher."""
STUDENT = "student"
TUNING = "tuning"

PARAMS = Path("params")
RAW = Path("raw")
"""Downloaded data sets as their authors made them, one folder each."""
SCRATCH = Path(".scratch")


def params(study: str, *slice_: str) -> Path:
    """The YAML of one parameter slice: `params("digits", "faster_rcnn", "pkd")`."""
    return PARAMS.joinpath(study, *slice_).with_suffix(".yaml")


def side(study: str, pair: str, recipe: str) -> Path:
    """The slice of the detector that a run trains."""
    return params(study, pair, TEACHER if recipe == TEACHER else STUDENT)


def data(study: str, name: str) -> Path:
    """A file or folder of the prepared data set: `manifest.json`, `train.json`, `images`, ..."""
    return Path("data", study, name)


def run(study: str, pair: str, recipe: str, seed: int | str, name: str) -> Path:
    """A file of one run: `model.safetensors`, `curve.csv`, `learning.json`, `timing.json`, `metrics.json`, ..."""
    return Path("runs", study, pair, recipe, str(seed), name)


def teacher(study: str, pair: str) -> Path:
    """The teacher's weights."""
    return run(study, pair, TEACHER, ONCE, "model.safetensors")


def latency(study: str, pair: str) -> Path:
    """How long the two architectures of a pair take for an image, measured alone."""
    return Path("runs", study, pair, "latency.json")


def tuning(study: str, pair: str, recipe: str, name: str) -> Path:
    """A file of a recipe's tuning, beside its seeds: `tuning.json`, `timing.json`."""
    return run(study, pair, recipe, TUNING, name)


def summary(study: str) -> Path:
    """The statistics over all runs of a study. Outside `runs/`, which it is made from as a whole."""
    return Path("reports", study, "summary.json")


def figure(study: str, name: str) -> Path:
    """One figure of the report: `reports/digits/gains.svg`."""
    return Path("reports", study, name).with_suffix(".svg")


def report(study: str) -> Path:
    """The PDF that users open."""
    return Path("reports", f"{study}.pdf")
