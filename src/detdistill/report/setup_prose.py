"""The sentences on what went in: the data, what trainings begin with, and teachers of other pairs."""

from pathlib import Path

from detdistill.core import paths
from detdistill.core.params import Pair, Side, Study, load_side
from detdistill.dataset.manifest import Manifest
from detdistill.report import numbers
from detdistill.report.names import Names

FAULTS_NAMED = 4


def setup(study: Study, manifest: Manifest, names: Names) -> str:
    """All of them that this study has something to say on."""
    told = [skipped(manifest), faults(manifest), beginnings(study, names), across(study, names)]
    return " ".join(sentence for sentence in told if sentence)


def skipped(manifest: Manifest) -> str:
    """How many images of the raw data were left out, and the first of them; empty when none was."""
    gone = [each for split in manifest.splits.values() for each in split.skipped]
    if not gone:
        return ""
    first = [f"{each.image}: {each.reason}" for each in gone[:FAULTS_NAMED]]
    rest = len(gone) - len(first)
    named = "; ".join(first) + (f"; the manifest has the other {numbers.count(rest)}" if rest else "")
    told = numbers.counted(len(gone), "image that cannot be used was", "images that cannot be used were")
    return f"{told[0].upper()}{told[1:]} left out ({named})."


def faults(manifest: Manifest) -> str:
    """How many boxes of the raw data were dropped or clipped, and the first of them; empty when none was."""
    splits = manifest.splits.values()
    dropped, clipped = sum(split.dropped for split in splits), sum(split.clipped for split in splits)
    if not dropped and not clipped:
        return ""
    counts = [
        f"{numbers.counted(count, 'annotated box', 'annotated boxes')} {'was' if count == 1 else 'were'} {done}"
        for count, done in ((dropped, "dropped"), (clipped, "clipped"))
        if count
    ]
    first = [f"{each.image}, {each.done}: {each.reason}" for split in splits for each in split.faults][:FAULTS_NAMED]
    named = "; ".join(first) + ("; the manifest names more" if dropped + clipped > len(first) else "")
    told = numbers.listing(counts)
    return f"{told[0].upper()}{told[1:]} ({named})."


def beginnings(study: Study, names: Names) -> str:
    """What the teacher and the students of every pair begin with."""
    others = {pair.pair: _beginning(study, pair, names) for pair in study.pairs}
    if not any(others.values()):
        return "All teachers and students begin with random weights, those of a student drawn by its seed."
    told = [each or f"{names.pair(pair)} begins with random weights." for pair, each in others.items()]
    return " ".join([*told, "What is not said to be trained before is random, in a student drawn by its seed."])


def across(study: Study, names: Names) -> str:
    """Which recipes learn from another pair's teacher; empty when none does."""
    taught = [run for run in study.distilled if run.teaching != run.pair]
    told = [f"{names.recipe(run.pair, run.recipe)} ({names.pair(run.pair)})" for run in taught]
    if not told:
        return ""
    learns, gap = ("learns", "its gap is the one") if len(told) == 1 else ("learn", "their gaps are those")
    return f"Across families, {numbers.listing(told)} {learns} from another pair's teacher; {gap} to that teacher."


def _beginning(study: Study, pair: Pair, names: Names) -> str | None:
    sides = [load_side(study.study, pair.pair, side) for side in ("teacher", "student")]
    told = zip(("the teacher", "all students"), sides, (pair.teacher_from, pair.student_from), strict=True)
    parts = [
        f"{what} {'begins' if what == 'the teacher' else 'begin'} with {origin}"
        for what, side, file in told
        if (origin := _origin(study, file, names) or _published(side))
    ]
    return f"{names.pair(pair.pair)}: {numbers.listing(parts)}." if parts else None


def _published(side: Side) -> str | None:
    """What a detector itself says that it begins with."""
    return "published weights" if side.detector.get("weights") or side.detector.get("pretrained") else None


def _origin(study: Study, file: str, names: Names) -> str | None:
    """Whose backbone and neck a training begins with, or None when it begins with the data alone."""
    for pair in study.pairs:
        if Path(file) == paths.teacher(study.study, pair.pair):
            return f"backbone and neck of the {names.pair(pair.pair)} teacher"
        for run in study.plain:
            if run.pair == pair.pair and Path(file).parent.parent == Path("runs", study.study, pair.pair, run.recipe):
                return f"backbone and neck of a {names.pair(pair.pair)} student that no teacher helped"
    return None
