"""Where each step's files live. Every path is relative to the project root, where the commands run."""

from pathlib import Path

TEACHER = "teacher"
START = "start"
ONCE = 0
"""The seed of what a pair trains once: its teacher, and the weights that its students start from."""
PLAIN = "plain"
PLAIN_LONG = "plain_long"

PARAMS = Path("params")
RAW = Path("raw")
"""Downloaded data sets as their authors made them, one folder each."""
SCRATCH = Path(".scratch")


def params(study: str, *slice_: str) -> Path:
    """The YAML of one parameter slice: `params("digits", "faster_rcnn", "pkd")`."""
    return PARAMS.joinpath(study, *slice_).with_suffix(".yaml")


def data(study: str, name: str) -> Path:
    """A file or folder of the prepared data set: `manifest.json`, `train.json`, `images`, ..."""
    return Path("data", study, name)


def run(study: str, pair: str, recipe: str, seed: int | str, name: str) -> Path:
    """A file of one run: `model.safetensors`, `curve.csv`, `learning.json`, `timing.json`, `metrics.json`, ..."""
    return Path("runs", study, pair, recipe, str(seed), name)


def teacher(study: str, pair: str) -> Path:
    """The teacher's weights."""
    return run(study, pair, TEACHER, ONCE, "model.safetensors")


def start(study: str, pair: str) -> Path:
    """The weights that every student of a pair starts from."""
    return run(study, pair, START, ONCE, "model.safetensors")


def summary(study: str) -> Path:
    """The statistics over all runs of a study. Outside `runs/`, which it is made from as a whole."""
    return Path("reports", study, "summary.json")


def figure(study: str, name: str) -> Path:
    """One figure of the report: `reports/digits/gains.svg`."""
    return Path("reports", study, name).with_suffix(".svg")


def report(study: str) -> Path:
    """The PDF that users open."""
    return Path("reports", f"{study}.pdf")
