"""The shape of `summary.json`: what is known of every run and recipe and must repeat, so no times.

Precisions and shares are fractions 0..1, memory is bytes. Precisions are of the test split, each a Stat over seeds;
`val_AP50` alone may choose anything.
"""

from typing import Any, Literal, TypedDict

from detdistill.analysis.effects import Blocked, Effect
from detdistill.analysis.sampling import Sampling
from detdistill.analysis.statistics import Stat
from detdistill.analysis.together import Together
from detdistill.distill import taxonomy

Kind = Literal["teacher", "plain", "distilled"]

PRECISIONS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")
TERCILES = ("smallest", "middle", "largest")


class RunStats(TypedDict):
    """All seeds of one recipe of one pair; what is the same in every seed is one value.

    `errors` is the AP50 lost to each kind of mistake, `by_size` the AP50 of each third of the objects by area, `inside`
    the share of the gradient inside objects at the first validation and at the last: of the native losses, of each
    method, and as `area` that of the cells of objects themselves.
    """

    kind: Kind
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
    per_class_AP50: dict[str, Stat]
    errors: dict[str, Stat]
    by_size: dict[str, Stat]
    inside: dict[str, dict[str, Stat]]
    parameters: int | None
    flops: int | None
    checkpoint_bytes: int | None


class Tried(TypedDict):
    """One value of a tuning grid: validation precision, and the recipe's share of the native gradient at the end.

    Both are None where that training diverged.
    """

    factor: float
    AP50: float | None
    gradient_share: float | None


class Tuned(TypedDict):
    """What tuning found: the weights are `factor` times the value whose gradient has `share` of the native one."""

    factor: float
    share: float
    seed: int
    schedule_factor: float
    grid: list[Tried]


class Standing(TypedDict):
    """How a recipe stands against the plain student of its schedule; None where runs are missing, and of plain ones.

    `effect` is the difference in AP50, `effect_AP` the one in AP by the same test, `additive` the same effect by
    another model, `together` what a set has above its best part.
    """

    effect: Effect | None
    effect_AP: Effect | None
    additive: Blocked | None
    together: Together | None


class RecipeStats(RunStats, Standing):
    """A student, and how it stands against `plain`, the plain student of its schedule; a plain one against the first.

    `teacher` is the pair whose teacher it learns from; `gap_closed` refers to that teacher. `seed_gains` is the effect
    seed by seed, `sampling` what other test images could make of it. None where runs are missing.
    """

    teacher: str | None
    like: str | None
    plain: str
    levels: list[str]
    methods: dict[str, dict[str, Any]]
    method_levels: dict[str, str]
    schedule_factor: float
    seed_gains: Stat
    gap_closed: float | None
    sampling: Sampling | None
    tuned: Tuned | None


class FamilySummary(TypedDict):
    """A plain student and the recipes held against it: the pooled standard deviation of a seed, and what it allows.

    `half_width` is that of the intervals at the study's number of seeds; `seeds_needed` is for gains of one and of two
    points, None where the spread is unknown or more than 200 seeds are needed.
    """

    plain: str
    recipes: list[str]
    schedule_factor: float
    spread: float | None
    freedom: int
    half_width: float | None
    seeds_needed: dict[str, int | None]


class PairSummary(TypedDict):
    """`plain` are the plain recipes from the shortest schedule on; one is enough."""

    engine: str
    teacher: RunStats
    plain: list[str]
    recipes: dict[str, RecipeStats]
    families: list[FamilySummary]


class Summary(TypedDict):
    """`data` and `params` are digests; `size_bounds` part the test objects by area, in square pixels, into thirds."""

    study: str
    title: str
    seeds: list[int]
    data: str
    params: dict[str, str]
    size_bounds: list[float]
    pairs: dict[str, PairSummary]


def distilled(pair: PairSummary) -> dict[str, RecipeStats]:
    """The distilled recipes of a pair by level, several levels last; then by name; then by schedule."""
    found = {name: stats for name, stats in pair["recipes"].items() if stats["kind"] == "distilled"}

    def place(each: tuple[str, RecipeStats]) -> tuple[object, ...]:
        name, stats = each
        return taxonomy.place(stats["levels"]), stats["like"] or name, stats["schedule_factor"], name

    return dict(sorted(found.items(), key=place))


def ladders(pair: PairSummary) -> dict[str, list[RecipeStats]]:
    """The recipes of several schedules, each from its shortest on."""
    recipes = distilled(pair)
    found = {name: [each for each in recipes.values() if each["like"] == name] for name in recipes}
    return {name: [recipes[name], *longer] for name, longer in found.items() if longer}


def by_level(summary: Summary) -> list[tuple[str, str, RecipeStats]]:
    """(pair, recipe, stats) of every distilled recipe of the study in the order of the levels."""
    found = [
        (pair, name, stats) for pair, content in summary["pairs"].items() for name, stats in distilled(content).items()
    ]
    return sorted(found, key=lambda each: taxonomy.place(each[2]["levels"]))


def schedule_gains(pair: PairSummary) -> dict[float, float]:
    """What longer schedules give the plain student in AP50, by their length over the shortest's."""
    shortest = baseline(pair)
    if shortest is None or (start := shortest["AP50"]["mean"]) is None:
        return {}
    longer = [pair["recipes"][name] for name in pair["plain"][1:]]
    known = [(each, mean) for each in longer if (mean := each["AP50"]["mean"]) is not None]
    return {each["schedule_factor"] / shortest["schedule_factor"]: mean - start for each, mean in known}


def recipe_gains(pair: PairSummary) -> list[float]:
    """What each recipe of the shortest schedule gives its student in AP50, as far as it is known."""
    effects = [each["effect"] for each in distilled(pair).values() if each["plain"] in pair["plain"][:1]]
    return [effect["difference"] for effect in effects if effect]


def baseline(pair: PairSummary) -> RecipeStats | None:
    """The plain student of the shortest schedule."""
    return pair["recipes"][pair["plain"][0]] if pair["plain"] else None
