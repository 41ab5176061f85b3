"""The tables of what was done rather than found: data, detectors, methods, published figures, costs."""

from collections.abc import Sequence
from typing import Any

from detdistill.analysis.summary import Summary, distilled
from detdistill.core.params import Augmentation, Pair, Side, Study, Training, load_side
from detdistill.dataset.manifest import Manifest
from detdistill.distill import taxonomy
from detdistill.report import numbers
from detdistill.report.citations import Citations
from detdistill.report.literature import Figure, Literature
from detdistill.report.names import Names
from detdistill.report.provenance import Cost, Provenance
from detdistill.report.tables import Group, Table

_SPLITS = ("train", "val", "test")
_TRAINING = (
    "steps",
    "batch",
    "optimizer",
    "lr",
    "trunk_lr",
    "weight_decay",
    "schedule",
    "warmup",
    "clip_norm",
    "precision",
    "threads",
)


def splits(manifest: Manifest) -> Table:
    """Images and boxes of every split, and the range over its classes."""
    rows = []
    for name, split in sorted(manifest.splits.items(), key=lambda each: _SPLITS.index(each[0])):
        low, high = min(split.boxes_per_class), max(split.boxes_per_class)
        per_class = numbers.count(low) if low == high else f"{numbers.count(low)} to {numbers.count(high)}"
        per_image = f"{split.boxes / split.images:.2f}" if split.images else numbers.NONE
        rows.append([name, numbers.count(split.images), numbers.count(split.boxes), per_image, per_class])
    return Table(["Split", "Images", "Boxes", "Boxes an image", "Boxes a class"], "lrrrr", [Group(None, rows)])


def detectors(study: Study, names: Names) -> list[Table]:
    """A table a pair: teacher and student by the keys of their params files; a dash where one has no such key."""
    tables = []
    for pair in study.pairs:
        sides = _sides(study, pair)
        keys = dict.fromkeys(key for side in sides for key in side.detector)
        rows = [["engine", *[pair.engine] * 2]]
        rows += [[_words(key), *(_value(side.detector.get(key)) for side in sides)] for key in keys]
        tables.append(_by_side([pair], names, rows))
    return tables


def training(study: Study, names: Names, images: int) -> Table:
    """How teacher and student of every pair are trained on so many images, defaults included."""
    sides = [side for pair in study.pairs for side in _sides(study, pair)]
    rows = [[_words(key), *(_trained(side.training, key) for side in sides)] for key in _TRAINING]
    epochs = (side.training.steps * side.training.batch / images for side in sides)
    rows.insert(2, ["epochs", *(f"{each:.2g}" if each < 10 else f"{each:.0f}" for each in epochs)])
    recipes = [side.training.augment or Augmentation() for side in sides]
    varied = [recipe.model_dump(exclude_defaults=True) for recipe in recipes]
    rows += [[f"augment: {key}", *(_value(each.get(key)) for each in varied)] for key in Augmentation.model_fields]
    return _by_side(study.pairs, names, [row for row in rows if set(row[1:]) != {numbers.NONE}])


def _sides(study: Study, pair: Pair) -> list[Side]:
    return [load_side(study.study, pair.pair, side) for side in ("teacher", "student")]


def _by_side(pairs: Sequence[Pair], names: Names, rows: list[list[str]]) -> Table:
    spans = [("", 1), *((names.pair(pair.pair), 2) for pair in pairs)]
    header = ["", *["Teacher", "Student"] * len(pairs)]
    return Table(header, "l" + "r" * 2 * len(pairs), [Group(None, rows)], spans)


def _trained(training: Training, key: str) -> str:
    return "fp32" if key == "precision" and training.precision == "no" else _value(getattr(training, key))


def _words(key: str) -> str:
    return key.replace("_", " ")


def _value(value: Any) -> str:
    """A YAML value in print: lists without brackets, a dash for an absent key."""
    if value is None:
        return numbers.NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_value(each) for each in value)
    if isinstance(value, dict):
        return ", ".join(f"{_words(key)} {_value(each)}" for key, each in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def methods(summary: Summary, names: Names, literature: Literature, citations: Citations) -> Table:
    """Every recipe's methods with their level and the parameters that its params file gives them."""
    groups = []
    for pair, content in summary["pairs"].items():
        rows = []
        for recipe, stats in distilled(content).items():
            for position, method in enumerate(taxonomy.by_level(stats["method_levels"])):
                name = literature.name(method) + citations.mark(method)
                level = taxonomy.LABELS[stats["method_levels"][method]]
                given = f"as {stats['like']}" if stats["like"] else _value(stats["methods"][method])
                if stats["schedule_factor"] != 1:
                    given += f", {stats['schedule_factor']:g}× the steps"
                if (teacher := stats["teacher"]) and teacher != pair:
                    given = ", ".join(part for part in (f"teacher of {names.pair(teacher)}", given) if part)
                rows.append([recipe if position == 0 else "", level, name, given])
        groups.append(Group(names.pair(pair), rows))
    return Table(["Recipe", "Level", "Method", "Parameters"], "llll", groups)


def published(summary: Summary, literature: Literature, citations: Citations) -> Table:
    """Published figures of the methods in the study and some for scale, with where each was read."""
    methods = {
        method for pair in summary["pairs"].values() for each in pair["recipes"].values() for method in each["methods"]
    }
    measured = {paper.key for method in methods if (paper := literature.paper(method))}
    groups = []
    relevant = literature.relevant(measured)
    for title, chosen in (
        ("Methods of this study", [each for each in relevant if each.reference in measured]),
        ("Others, for scale", [each for each in relevant if each.reference not in measured]),
    ):
        if chosen:
            groups.append(Group(title, [_published(each, literature, citations) for each in chosen]))
    return Table(["Method", "Setting", "Data", "AP", "AP50", "Gap\nclosed", "Read in"], "lllllrl", groups)


def _published(figure: Figure, literature: Literature, citations: Citations) -> list[str]:
    method = literature.name(figure.reference) + citations.mark(figure.reference)
    notes = "; ".join(part for part in (figure.source, figure.note) if part)
    source = f"† {notes}" if figure.kind == "secondary" else notes or "the paper"
    return [
        method,
        figure.setting,
        figure.data,
        _change(figure.AP),
        _change(figure.AP50),
        numbers.percent(figure.gap_closed),
        source,
    ]


def _change(values: tuple[float | None, float | None, float | None]) -> str:
    """`37.4 → 39.7 (38.9)`: plain student, distilled, and the teacher in brackets where it is known."""
    teacher, student, distilled = values
    if student is None or distilled is None:
        return numbers.NONE
    return f"{student:.1f} → {distilled:.1f}" + (f" ({teacher:.1f})" if teacher is not None else "")


def costs(provenance: Provenance, names: Names) -> Table:
    """Wall and core time by step and pair, summed over recipes and seeds, and the total."""

    def row(step: str, pair: str | None, costs: Sequence[Cost]) -> list[str]:
        times = [sum(cost.wall_seconds for cost in costs), sum(cost.core_seconds for cost in costs)]
        memory = max(cost.peak_memory_bytes for cost in costs)
        runs = str(sum(cost.runs for cost in costs))
        return [
            step,
            names.pair(pair) if pair else "",
            runs,
            *map(numbers.duration, times),
            numbers.scaled(memory, 2**20, 0),
        ]

    rows = [row(cost.step, cost.pair, [cost]) for cost in provenance.costs]
    header = ["Step", "Pair", "Runs", "Wall time", "Core time", "Peak memory\n(MiB)"]
    return Table(header, "llrrrr", [Group(None, rows), Group(None, [row("total", None, provenance.costs)])])
