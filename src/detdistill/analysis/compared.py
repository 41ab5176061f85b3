"""Every student held against the plain student of its pair and schedule."""

from collections.abc import Mapping

from detdistill.analysis.effects import Family, additive, effects
from detdistill.analysis.power import half_width, seeds_needed
from detdistill.analysis.runs import AllRuns, run_stats
from detdistill.analysis.sampling import sampling
from detdistill.analysis.schedules import Schedules
from detdistill.analysis.statistics import difference, paired, stat
from detdistill.analysis.summary import FamilySummary, RecipeStats, Standing, Tried, Tuned
from detdistill.analysis.together import Together, together
from detdistill.core import paths
from detdistill.core.files import read_json
from detdistill.core.params import DistilledRun, PlainRun
from detdistill.distill import taxonomy

GAINS = {"one_point": 0.01, "two_points": 0.02}
_ALONE = Standing(effect=None, effect_AP=None, additive=None, together=None)

Control = tuple[str, str]
"""A pair and one of its plain recipes: the key of a family."""


def families(schedules: Schedules, runs: AllRuns, precision: str = "AP50") -> dict[Control, Family]:
    """Plain recipe -> it and the recipes of its schedule, as far as they have that precision on the test split."""
    found = {}
    for plain in schedules.study.plain:
        recipes = {
            run.recipe: values
            for run in schedules.study.distilled
            if run.pair == plain.pair and schedules.control(run) == plain.recipe
            if (values := runs[run.pair, run.recipe].test(precision))
        }
        baseline = runs[plain.pair, plain.recipe].test(precision)
        if baseline and recipes:
            found[plain.pair, plain.recipe] = Family(baseline, recipes)
    return found


def family_summary(schedules: Schedules, control: Control, family: Family) -> FamilySummary:
    """What the spread of a family allows to see."""
    return FamilySummary(
        plain=control[1],
        recipes=list(family.recipes),
        schedule_factor=schedules.slices[control].schedule_factor,
        spread=family.spread,
        freedom=family.freedom,
        half_width=half_width(family, len(schedules.study.seeds)),
        seeds_needed={name: seeds_needed(family, gain) for name, gain in GAINS.items()},
    )


def standings(schedules: Schedules, runs: AllRuns, of: Mapping[Control, Family]) -> dict[tuple[str, str], Standing]:
    """(pair, recipe) -> how it stands in its family of AP50 on the test split, for every recipe that has one."""
    told, of_ap = effects(of), effects(families(schedules, runs, "AP"))
    found = {}
    for key, family in of.items():
        blocked, sets = additive(family), _together(schedules, key[0], family, runs)
        for recipe, effect in told[key].items():
            found[key[0], recipe] = Standing(
                effect=effect,
                effect_AP=of_ap.get(key, {}).get(recipe),
                additive=blocked.get(recipe),
                together=sets.get(recipe),
            )
    return found


def compared(
    schedules: Schedules, run: PlainRun, runs: AllRuns, standing: Mapping[tuple[str, str], Standing]
) -> RecipeStats:
    """A student beside the plain one of its schedule; a plain student stands beside the first."""
    plain = schedules.control(run)
    own, base = runs[run.pair, run.recipe], runs[run.pair, plain]
    taught = run if isinstance(run, DistilledRun) else None
    teacher = taught.teaching if taught else None
    methods = schedules.source(run).methods
    method_levels = {method: taxonomy.level_of(method) for method in methods}
    above = runs[teacher, paths.TEACHER].test("AP50") if teacher else {}
    return RecipeStats(
        **run_stats(own),
        **standing.get((run.pair, run.recipe), _ALONE),
        teacher=teacher,
        like=taught.like if taught else None,
        plain=plain,
        levels=taxonomy.ordered(set(method_levels.values())),
        methods=methods,
        method_levels=method_levels,
        schedule_factor=schedules.schedule(run),
        seed_gains=paired(own.test("AP50"), base.test("AP50")),
        gap_closed=_gap_closed(own.test("AP50"), base.test("AP50"), above),
        sampling=sampling(own.resampled, base.resampled) if taught else None,
        tuned=_tuned(schedules.study.study, run.pair, run.recipe) if taught and not taught.like else None,
    )


def _together(schedules: Schedules, pair: str, family: Family, runs: AllRuns) -> dict[str, Together]:
    """Every set of a family against its best part; what is taught by another teacher is no part."""
    recipes = [run for run in schedules.study.distilled if run.pair == pair and run.recipe in family.recipes]
    methods = {run.recipe: {(run.teaching, method) for method in schedules.source(run).methods} for run in recipes}
    return together(family, methods, {run.recipe: runs[pair, run.recipe].validation for run in recipes})


def _gap_closed(ours: Mapping[str, float], base: Mapping[str, float], teacher: Mapping[str, float]) -> float | None:
    """(ours - baseline) / (teacher - baseline) of the means; a baseline that reaches the teacher leaves no gap."""
    gain, gap = difference(stat(ours), stat(base)), difference(stat(teacher), stat(base))
    return gain / gap if gain is not None and gap is not None and gap > 0 else None


def _tuned(study: str, pair: str, recipe: str) -> Tuned | None:
    """What tuning found for a recipe; None in a study that does not tune."""
    file = paths.tuning(study, pair, recipe, "tuning.json")
    if not file.is_file():
        return None
    read = read_json(file)
    grid = [Tried(factor=t["factor"], AP50=t["AP50"], gradient_share=t["gradient_share"]) for t in read["grid"]]
    settings = {name: read[name] for name in ("factor", "share", "seed", "schedule_factor")}
    return Tuned(**settings, grid=grid)  # type: ignore[typeddict-item]
