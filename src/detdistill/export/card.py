"""What goes with an exported model: `detdistill.json` for programs and `README.md`, its model card, for people."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from detdistill.analysis.effects import Effect
from detdistill.analysis.statistics import Stat
from detdistill.core import record, timing
from detdistill.core.params import Slice, parse
from detdistill.export.trained import Trained
from detdistill.report.provenance import UNKNOWN, Commit

CARD, README = "detdistill.json", "README.md"
PACKAGE_LICENCE = "Apache-2.0"
RESIZE = """\
It was trained on images of {longest} pixels at most, and finds objects that are as large as they were there. So images
with a longer side are shrunk to that before, by Pillow's bilinear filter, and others stay as they are. `detdistill
detect` does so, and tells boxes in pixels of the image as given.
"""


class Card(Slice):
    """`detdistill.json`: what builds the detector again, and where it comes from."""

    format: Literal[1]
    engine: str
    detector: dict[str, Any]
    """In the words of the engine, as in a params slice."""
    classes: Annotated[list[str], Field(min_length=1)]
    image_size: Annotated[list[int], Field(min_length=2, max_length=2)] | None
    """[H, W] of the images that it was validated on, null where they differ."""
    resize: Annotated[int, Field(gt=0)] | None = None
    """Pixels of the longest side that images are shrunk to first; null, or not said: none are."""
    threshold: float | None
    """The score of the highest F1 on validation; null for a model that was not evaluated."""
    study: str
    pair: str
    recipe: str
    seed: int
    teacher: str | None
    methods: list[str]
    data: dict[str, Any]
    AP50: float | None
    """On the test split."""
    commit: str
    licence: str | None
    versions: dict[str, str]


def write(trained: Trained, params: dict[str, Any], licence: str | None, commit: Commit, folder: Path) -> None:
    """Write `detdistill.json`, with the digests of every other file of the folder."""
    card = Card(
        format=1,
        engine=trained.engine,
        detector=params,
        classes=trained.classes,
        image_size=list(trained.image_size) if trained.image_size else None,
        resize=trained.resize,
        threshold=trained.threshold,
        study=trained.study,
        pair=trained.pair,
        recipe=trained.recipe,
        seed=trained.seed,
        teacher=trained.teacher,
        methods=trained.methods,
        data=trained.data,
        AP50=trained.metrics["test"]["AP50"] if trained.metrics else None,
        commit=_told(commit),
        licence=licence,
        versions=timing.versions(),
    )
    names = sorted(file.name for file in folder.iterdir())
    record.write(folder / CARD, card.model_dump(), None, names)


def read(folder: Path) -> tuple[Card, dict[str, str]]:
    """The card, and the digest of every file beside it. Raises UserError for a card that is missing or damaged."""
    content = record.read(folder / CARD)
    wrote = content.pop("wrote", {})
    return parse(Card, content, str(folder / CARD)), wrote


def readme(trained: Trained, licence: str | None, commit: Commit, uses: Iterable[str]) -> str:
    """The model card; `uses` say how each format is used."""
    name = f"{trained.pair} {trained.recipe} {trained.seed}"
    parts = [
        _front_matter(trained, licence),
        f"# {trained.title}: {name}",
        _about(trained),
        "## Figures",
        _figures(trained),
        "## Use",
        *([RESIZE.format(longest=trained.resize)] if trained.resize else []),
        *uses,
        _threshold(trained),
        "## Provenance",
        _provenance(trained, commit),
        "## Licence",
        _licence(licence),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _front_matter(trained: Trained, licence: str | None) -> str:
    library = "transformers" if trained.engine == "transformers" else "detdistill"
    lines = [f"library_name: {library}", "pipeline_tag: object-detection", "tags: [object-detection, distillation]"]
    return "\n".join(["---", *([f"license: {licence.lower()}"] if licence else []), *lines, "---"])


def _about(trained: Trained) -> str:
    if trained.teacher:
        how = (
            f"a student, distilled by {_listed(trained.methods)} (recipe `{trained.recipe}`) from the teacher of the "
            f"pair `{trained.teacher}`"
        )
    elif trained.recipe == "teacher":
        how = "a teacher, trained without distillation"
    else:
        how = f"a student, trained without a teacher (recipe `{trained.recipe}`)"
    images = ", ".join(f"{count} images in {split}" for split, count in trained.data["images"].items())
    family = trained.params.get("family", "a config of its own")
    return (
        f"`{family}` of the engine `{trained.engine}`: {how}, seed {trained.seed}, in the study `{trained.study}` of "
        f"detdistill. It finds {len(trained.classes)} classes: {', '.join(trained.classes)}.\n\n"
        f"Data: kind `{trained.data['kind']}`, {images}, digest `{trained.data['digest']}`."
    )


def _figures(trained: Trained) -> str:
    if trained.metrics is None:
        return "This run has not been evaluated."
    test = trained.metrics["test"]
    rows = ["| on the test split | this model | all seeds of its recipe |", "|---|---|---|"]
    for name in ("AP50", "AP", "AP75"):
        stat: Any = trained.stats[name] if trained.stats else None  # type: ignore[literal-required]
        rows.append(f"| {name} | {_points(test[name])} | {_spread(stat)} |")
    lines = ["\n".join(rows)]
    effect: Effect | None = trained.stats.get("effect") if trained.stats else None  # type: ignore[assignment]
    if effect and trained.teacher:
        lines.append(_gain(effect))
    elif not trained.stats:
        lines.append("The study's summary is not there, or is of another training, so there are no intervals.")
    lines.append(
        f"{trained.metrics['parameters']:,} parameters; {trained.metrics['flops'] / 1e9:.3g} GFLOP for an image of "
        f"{' x '.join(map(str, trained.metrics['image_size']))} pixels."
    )
    return "\n\n".join(lines)


def _gain(effect: Effect) -> str:
    """With its interval and its verdict, which one seed does not have."""
    points = f"{100 * effect['difference']:+.1f} points"
    told = f"Gain of the recipe in AP50 over the plain student of its schedule: {points}"
    if effect["low"] is not None and effect["high"] is not None:
        told += f" [{100 * effect['low']:+.1f}, {100 * effect['high']:+.1f}], the interval of 95 % simultaneous within "
        told += "the pair and schedule (Dunnett)"
    return f"{told}; verdict: {effect['verdict']}." if effect["verdict"] else f"{told}."


def _threshold(trained: Trained) -> str:
    if trained.threshold is None:
        return "No threshold was chosen, because the run has not been evaluated."
    return f"F1 on the validation split is highest for detections of a score of {trained.threshold:.3f} and above."


def _provenance(trained: Trained, commit: Commit) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in timing.versions().items())
    return (
        f"Exported by detdistill at commit {_told(commit)}, with {versions}. `{CARD}` holds what builds the detector "
        "again, and the SHA-256 of every file."
    )


def _licence(licence: str | None) -> str:
    own = f"{licence}." if licence else "None was named for this model: ask whoever gave it to you."
    return f"{own} The licence of the data that it was trained on may bind as well. detdistill is {PACKAGE_LICENCE}."


def _told(commit: Commit) -> str:
    return UNKNOWN if commit.name == UNKNOWN else f"{commit.name}{' with changes' if commit.dirty else ''}"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _spread(stat: Stat | None) -> str:
    if stat is None or stat["mean"] is None:
        return "-"
    spread = "" if stat["std"] is None else f" ± {100 * stat['std']:.1f}"
    return f"{100 * stat['mean']:.1f}{spread} ({stat['n']} seed{'s' if stat['n'] > 1 else ''})"


def _listed(names: list[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
