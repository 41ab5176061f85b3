"""The shape of `summary.json`, which `summarize` writes and everything else of the report reads.

Shares and precisions are fractions 0..1, times are seconds, memory is bytes.
"""

from typing import Any, Literal, TypedDict

from detdistill.report import taxonomy
from detdistill.report.statistics import Stat, Verdict

Kind = Literal["teacher", "plain", "plain_long", "distilled"]

# Precisions on the test split, each a Stat over seeds. `val_AP50` is the only one that may choose anything.
PRECISIONS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")


class RunStats(TypedDict):
    """All seeds of one recipe of one pair; what is the same in every seed is one value."""

    kind: Kind
    runs: dict[str, dict[str, float | None]]
    missing: list[int]
    AP: Stat
    AP50: Stat
    AP75: Stat
    AP_small: Stat
    AP_medium: Stat
    AP_large: Stat
    AR100: Stat
    val_AP50: Stat
    voc_AP50_area: Stat
    voc_AP50_11point: Stat
    per_class_AP: dict[str, Stat]
    per_class_AP50: dict[str, Stat]
    parameters: int | None
    flops: int | None
    checkpoint_bytes: int | None
    milliseconds_per_image: Stat
    core_seconds: Stat
    wall_seconds: Stat
    images_per_second: Stat
    peak_memory_bytes: int | None


class RecipeStats(RunStats):
    """A student: its recipe, and how it stands against the plain students of the same seeds.

    `teacher` is the pair whose teacher it learns from, None for a plain student; `gap_closed` refers to that teacher.
    `overhead` is core time per training image, validation left out, over the plain student's. A gain is a difference,
    positive when better than the plain student of equal steps, or than the one of the longer schedule: equal time.
    """

    teacher: str | None
    levels: list[str]
    methods: dict[str, dict[str, Any]]
    method_levels: dict[str, str]
    schedule_factor: float
    overhead: Stat
    gain_equal_steps: Stat
    gain_equal_steps_AP: Stat
    gain_equal_time: Stat
    gap_closed: Stat
    seeds_better: int
    verdict: Verdict


class PairSummary(TypedDict):
    engine: str
    teacher: RunStats
    recipes: dict[str, RecipeStats]


def distilled(pair: PairSummary) -> dict[str, RecipeStats]:
    """The distilled recipes of a pair in the order of their levels, then by name; those of several levels come last."""
    found = {name: stats for name, stats in pair["recipes"].items() if stats["kind"] == "distilled"}
    return dict(sorted(found.items(), key=lambda each: (taxonomy.place(each[1]["levels"]), each[0])))


class Row(TypedDict):
    """One line of the table by level; a recipe of several levels comes after those of one."""

    levels: list[str]
    pair: str
    recipe: str
    AP50: Stat
    gain_equal_steps: Stat
    gain_equal_time: Stat
    gap_closed: Stat
    seeds_better: int
    verdict: Verdict


class Flattened(TypedDict):
    """The plain student against itself with `factor` times the steps."""

    plain_AP50: Stat
    plain_long_AP50: Stat
    difference: Stat
    factor: float


class Summary(TypedDict):
    study: str
    title: str
    seeds: list[int]
    pairs: dict[str, PairSummary]
    levels: list[Row]
    flattened: dict[str, Flattened]
