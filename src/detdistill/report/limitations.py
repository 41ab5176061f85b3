"""What this study cannot show, stated from its own facts."""

from detdistill.analysis.summary import Summary, baseline, by_level, recipe_gains, schedule_gains
from detdistill.dataset.manifest import Manifest
from detdistill.report import numbers, verdicts
from detdistill.report.names import Names
from detdistill.report.provenance import Provenance

ROOM = 0.1
"""How far in AP50 a teacher must be above the plain student for distillation to be seen."""
LEARNT = 0.3
"""The AP50 of a teacher that has something to teach."""
TEACHERS = (
    "Each pair has one teacher, so the spread over seeds is that of the student's training, not of another teacher."
)


def limitations(summary: Summary, names: Names, trained_on: str) -> list[str]:
    """One sentence or two for each limit, the most important first; `trained_on` follows what the models are."""
    told = [
        _missing(summary, names),
        *gaps(summary, names),
        _untrained(summary, names),
        _seeds(summary),
        TEACHERS,
        _scale(summary, trained_on),
        _precision(summary, names),
    ]
    return [sentence for sentence in told if sentence]


def _missing(summary: Summary, names: Names) -> str:
    gone = []
    for pair, content in summary["pairs"].items():
        for recipe, stats in {"teacher": content["teacher"], **content["recipes"]}.items():
            if stats["missing"]:
                seeds = numbers.listing([str(seed) for seed in stats["missing"]])
                noun = "seed" if len(stats["missing"]) == 1 else "seeds"
                gone.append(f"{names.pair(pair)} {names.recipe(pair, recipe)} ({noun} {seeds})")
    return f"Without results, and shown as missing: {numbers.listing(gone)}." if gone else ""


def without_room(summary: Summary) -> dict[str, tuple[float, float]]:
    """The pairs that leave nothing to gain -> AP50 of the teacher and of the plain student."""
    found = {}
    for pair, content in summary["pairs"].items():
        plain, teacher = baseline(content), content["teacher"]["AP50"]["mean"]
        student = plain["AP50"]["mean"] if plain else None
        if student is not None and teacher is not None and teacher - student < ROOM:
            found[pair] = teacher, student
    return found


def gaps(summary: Summary, names: Names) -> list[str]:
    """For each pair that leaves nothing to gain: that it cannot show distillation, why, and what to change."""
    told = []
    for pair, (teacher, student) in without_room(summary).items():
        if teacher < LEARNT:
            why = (
                "the teacher itself has learnt little; a longer schedule of the teacher, larger images or more images "
                "would have to come first"
            )
        else:
            why = (
                "the data are no harder than what the plain student learns by itself; fewer steps or a smaller student "
                "would leave something to gain"
            )
        told.append(
            f"{names.pair(pair)} cannot show distillation on these data as it is: the teacher's AP50 of "
            f"{numbers.points(teacher)} is {numbers.points(teacher - student, signed=True)} points from the plain "
            f"student's {numbers.points(student)}, where at least {numbers.points(ROOM)} above are needed. Here {why}."
        )
    return told


def _untrained(summary: Summary, names: Names) -> str:
    """The pairs whose plain student gains more by a longer schedule than by any recipe of the shortest."""
    told = []
    for pair, content in summary["pairs"].items():
        longer, own = schedule_gains(content), recipe_gains(content)
        if longer and own and next(iter(longer.values())) > max(own):
            told.append(names.pair(pair))
    if not told:
        return ""
    return (
        f"The plain student of {numbers.listing(told)} gains more by a longer schedule than by any recipe: it is far "
        "from trained out, and what helps there need not help a student that is."
    )


def _seeds(summary: Summary) -> str:
    n = len(summary["seeds"])
    if n < 2:
        return "One seed shows no spread: every difference may be chance."
    halves = [
        family["half_width"]
        for content in summary["pairs"].values()
        for family in content["families"]
        if family["half_width"] is not None
    ]
    if not halves:
        return ""
    low, high = numbers.points(min(halves)), numbers.points(max(halves))
    wide = f"±{low}" if low == high else f"±{low} to ±{high}"
    return (
        f"With {n} seeds the simultaneous 95 % intervals reach {wide} points: what stays open is not shown, which "
        "is no proof that it is absent. They speak of other seeds on the same test images, and the bootstrap over "
        "images of other images for the same trained students; of both at once neither speaks."
    )


def trained_on(manifest: Manifest, provenance: Provenance) -> str:
    """` and were trained on 4 000 images (on AMD EPYC)`"""
    machines = numbers.listing(list(dict.fromkeys(machine["cpu"] for machine in provenance.machines)))
    return f" and were trained on {numbers.count(manifest.splits['train'].images)} images (on {machines})"


def accelerated(provenance: Provenance) -> list[str]:
    """That core time says little where an accelerator did the work; empty where none did."""
    found = sorted({machine["accelerator"] for machine in provenance.machines if "accelerator" in machine})
    if not found:
        return []
    return [
        f"Models were trained on an accelerator ({numbers.listing(found)}), whose time is not in the core time: what "
        "is said of prices and of equal cost tells of its host alone."
    ]


def _scale(summary: Summary, trained_on: str) -> str:
    sizes = [
        stats["parameters"]
        for content in summary["pairs"].values()
        for stats in (content["teacher"], *content["recipes"].values())
        if stats["parameters"]
    ]
    if not sizes:
        return ""
    return (
        f"The models have {numbers.count(min(sizes))} to {numbers.count(max(sizes))} parameters{trained_on}. An order "
        "of methods found at this scale need not hold at another."
    )


def _precision(summary: Summary, names: Names) -> str:
    """AP50 does not see tighter boxes: say where AP, by the same test, has another verdict."""
    other, compared = [], 0
    for pair, recipe, stats in by_level(summary):
        if not (stats["effect"] and stats["effect_AP"] and stats["effect"]["verdict"]):
            continue
        compared += 1
        if stats["effect"]["verdict"] != stats["effect_AP"]["verdict"]:
            gain, word = numbers.gain(stats["effect_AP"]), verdicts.word(stats["effect_AP"])
            other.append(f"{names.across(pair, recipe)}: {word}, {gain}")
    start = "AP50, the headline, does not reward tighter boxes than an overlap of one half."
    if not compared:
        return start
    if not other:
        return f"{start} By the same test of AP, over all thresholds, every verdict is the same."
    return f"{start} By the same test of AP, over all thresholds, the verdict is another for {'; '.join(other)}."
