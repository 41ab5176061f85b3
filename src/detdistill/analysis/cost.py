"""What a study cost: times of training, tuning and inference, and comparisons at equal core time. `cost.json`.

Nothing in here repeats. Core seconds of a recipe are those of one training, validation left out, with its seeds' share
of asking the teacher once. With the teacher they also hold a share of its training: that over the runs it teaches.
Alone, one student pays for all of it: its teacher's training, the asking and the tuning.
"""

from typing import Any, TypedDict

from detdistill.analysis.equal_cost import EqualCost, Schedule, at_equal_cost, pooled
from detdistill.analysis.runs import AllRuns, Runs
from detdistill.analysis.schedules import Schedules
from detdistill.analysis.statistics import Stat, stat
from detdistill.core import paths, record
from detdistill.core.params import DistilledRun, PlainRun


class RecipeCost(TypedDict):
    """`core_seconds`, `with_teacher` and `for_one` are of one run, which shares or pays alone what comes before it;
    `step` is core time an image over the plain student's.

    `asking` and `teaching` are what they hold of asking the teacher and of its training; `over_plain` is
    `with_teacher`, or `core_seconds` without one, over the training of the plain student of the same schedule.

    `alone`, `taught` and `single` compare with plain training for these three; `tuning` is in seconds.
    """

    training_core_seconds: Stat
    images_per_second: Stat
    core_seconds: float | None
    with_teacher: float | None
    for_one: float | None
    asking: float | None
    teaching: float | None
    over_plain: float | None
    step: float | None
    alone: EqualCost | None
    taught: EqualCost | None
    single: EqualCost | None
    tuning: float | None


class PairCost(TypedDict):
    """`latency` is milliseconds an image of teacher and student, measured alone; None where it was not measured.

    `seed` is the core seconds of one more seed of every recipe, by plain recipe of the family.
    """

    latency: dict[str, float] | None
    teacher_core_seconds: float | None
    recipes: dict[str, RecipeCost]
    seed: dict[str, float]


class Cost(TypedDict):
    pairs: dict[str, PairCost]


def build(schedules: Schedules, runs: AllRuns) -> Cost:
    """The cost of a study from all of its runs."""
    return Cost(pairs={pair.pair: _pair(schedules, pair.pair, runs) for pair in schedules.study.pairs})


def _pair(schedules: Schedules, pair: str, runs: AllRuns) -> PairCost:
    students = [run for run in schedules.students if run.pair == pair]
    recipes = {run.recipe: _recipe(schedules, run, runs) for run in students}
    seed = {
        plain: sum(
            recipes[run.recipe]["training_core_seconds"]["mean"] or 0.0
            for run in students
            if run.recipe == plain or (isinstance(run, DistilledRun) and schedules.control(run) == plain)
        )
        for plain in schedules.plain(pair)
    }
    return PairCost(
        latency=_latency(schedules.study.study, pair),
        teacher_core_seconds=_teacher(pair, runs),
        recipes=recipes,
        seed=seed,
    )


def _recipe(schedules: Schedules, run: PlainRun, runs: AllRuns) -> RecipeCost:
    own = runs[run.pair, run.recipe]
    training = stat(own.timing("training_core_seconds"))
    answers = stat(own.timing("answers_core_seconds"))["mean"]
    tuning = _tuning(schedules.study.study, run.pair, run.recipe)
    alone, taught, single, asking, teaching = training["mean"], None, None, None, None
    if isinstance(run, DistilledRun) and alone is not None and answers is not None:
        asking = answers / len(own.results)
        if (teacher := _teacher(run.teaching, runs)) is not None:
            weighed = _tuning(schedules.study.study, run.pair, run.like or run.recipe)
            single = alone + answers + teacher + (weighed or 0.0)
        alone += asking
        if teaching := _teacher_share(schedules, run.teaching, runs):
            taught = alone + teaching
    plain = stat(runs[run.pair, schedules.control(run)].timing("training_core_seconds"))["mean"]
    paid = taught or alone
    ladder = [_schedule(runs[run.pair, plain]) for plain in schedules.plain(run.pair)]
    spread = pooled([runs[each.pair, each.recipe].test("AP50") for each in schedules.students if each.pair == run.pair])

    distilled = isinstance(run, DistilledRun)
    recipes = sum(each.pair == run.pair for each in schedules.study.distilled)

    def against_plain(seconds: float | None) -> EqualCost | None:
        if not distilled or seconds is None:
            return None
        return at_equal_cost(own.test("AP50"), seconds, ladder, spread, recipes)

    return RecipeCost(
        training_core_seconds=training,
        images_per_second=stat(own.timing("images_per_second")),
        core_seconds=alone,
        with_teacher=taught,
        for_one=single,
        asking=asking,
        teaching=teaching,
        over_plain=paid / plain if paid is not None and plain else None,
        step=_ratio(own, runs[run.pair, schedules.control(run)]),
        alone=against_plain(alone),
        taught=against_plain(taught),
        single=against_plain(single),
        tuning=tuning,
    )


def _schedule(runs: Runs) -> Schedule:
    return Schedule(stat(runs.timing("training_core_seconds"))["mean"] or 0.0, runs.test("AP50"))


def _teacher_share(schedules: Schedules, teacher: str, runs: AllRuns) -> float | None:
    """Core seconds of a teacher's training over the runs that it teaches."""
    seconds = _teacher(teacher, runs)
    taught = [run for run in schedules.study.distilled if run.teaching == teacher]
    return seconds / (len(taught) * len(schedules.study.seeds)) if seconds is not None else None


def _teacher(pair: str, runs: AllRuns) -> float | None:
    return stat(runs[pair, paths.TEACHER].timing("training_core_seconds"))["mean"]


def _ratio(ours: Runs, plain: Runs) -> float | None:
    """Core time an image over the plain student's."""
    mine, theirs = (_per_image(each)["mean"] for each in (ours, plain))
    return mine / theirs if mine is not None and theirs else None


def _per_image(runs: Runs) -> Stat:
    return stat({seed: each.timing["training_core_seconds"] / each.images for seed, each in runs.results.items()})


def _latency(study: str, pair: str) -> dict[str, float] | None:
    file = paths.latency(study, pair)
    if not file.is_file():
        return None
    read: dict[str, Any] = record.read(file)
    return {side: read[side]["milliseconds_per_image"] for side in (paths.TEACHER, paths.STUDENT)}


def _tuning(study: str, pair: str, recipe: str) -> float | None:
    file = paths.tuning(study, pair, recipe, "timing.json")
    return float(record.read(file)["core_seconds"]) if file.is_file() else None
