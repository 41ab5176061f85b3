"""How verdicts read, and which recipes and levels they speak of."""

from detdistill.analysis.effects import NEGLIGIBLE, Effect, Verdict
from detdistill.analysis.summary import PairSummary, Summary, by_level, distilled
from detdistill.distill import taxonomy
from detdistill.report import numbers

NO_EFFECT = f"no effect above {100 * NEGLIGIBLE:g} point"
NO_VERDICT = "no verdict"
WORDS: dict[Verdict, str] = {"helps": "helps", "hurts": "hurts", "no effect": NO_EFFECT, "open": "open"}


def word(effect: Effect | None) -> str:
    """A verdict in a table; `no verdict` where the seeds show no spread, empty where runs are missing."""
    if effect is None:
        return ""
    return WORDS[effect["verdict"]] if effect["verdict"] else NO_VERDICT


def told(content: PairSummary) -> dict[str, list[str]]:
    """The verdicts of a pair in words -> its recipes of that verdict; a verdict without recipes is not there."""
    found: dict[str, list[str]] = {each: [] for each in (*WORDS.values(), NO_VERDICT)}
    for name, stats in distilled(content).items():
        if stats["effect"]:
            found[word(stats["effect"])].append(name)
    return {verdict: names for verdict, names in found.items() if names}


def judged(summary: Summary) -> bool:
    """Whether any recipe has a verdict: not with one seed."""
    return any(stats["effect"] and stats["effect"]["verdict"] for _, _, stats in by_level(summary))


def levels(
    summary: Summary, verdict: Verdict | None = None, schedule: float | None = None, pair: str | None = None
) -> list[str]:
    """The levels that recipes act on alone, in the order of the taxonomy; of that verdict, schedule and pair."""
    found = {
        stats["levels"][0]
        for of, _, stats in by_level(summary)
        if len(stats["levels"]) == 1
        and stats["effect"]
        and verdict in (None, stats["effect"]["verdict"])
        and schedule in (None, stats["schedule_factor"])
        and pair in (None, of)
    }
    return taxonomy.ordered(found)


def spoken(levels: list[str]) -> str:
    """`backbone, neck and RPN/RoI`"""
    labels = [taxonomy.LABELS[level] for level in levels]
    return numbers.listing([label if "/" in label else label.lower() for label in labels])
