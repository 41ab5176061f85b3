"""The `summarize` step: every run of a study becomes `summary.json`. A run without results is listed as missing."""

from typing import Any

from detdistill.core import paths
from detdistill.core.files import read_json, write_json
from detdistill.core.params import DistilledRun, PlainRun, Recipe, Study, load_recipe, load_study
from detdistill.core.timing import measure
from detdistill.report import statistics, taxonomy
from detdistill.report.results import read_learning
from detdistill.report.statistics import Stat
from detdistill.report.summary import (
    PRECISIONS,
    Flattened,
    Kind,
    PairSummary,
    RecipeStats,
    Row,
    RunStats,
    Summary,
    distilled,
)

LEARNING = "learning.json"
RESULTS = ("metrics.json", LEARNING, "timing.json", "latency.json")


def summarize(study_name: str) -> None:
    """Write `summary.json` and `timing.json` below `reports/STUDY`.

    Raises UserError when a params file or a result is unreadable.
    """
    with measure("summarize") as cost:
        write_json(paths.summary(study_name), build(load_study(study_name)))
    cost.record(paths.summary(study_name).with_name("timing.json"))


def build(study: Study) -> Summary:
    """The summary of a study, from the files of the runs that it names."""
    teachers = {
        pair.pair: _run_stats(study.study, pair.pair, paths.TEACHER, "teacher", [paths.ONCE]) for pair in study.pairs
    }
    pairs = {pair.pair: _pair(study, pair.pair, pair.engine, teachers) for pair in study.pairs}
    return Summary(
        study=study.study,
        title=study.title,
        seeds=study.seeds,
        pairs=pairs,
        levels=_rows(pairs),
        flattened={name: flat for name, pair in pairs.items() if (flat := _flattened(pair)) is not None},
    )


def _pair(study: Study, pair: str, engine: str, teachers: dict[str, RunStats]) -> PairSummary:
    runs = [run for run in [*study.plain, *study.taught] if run.pair == pair]
    stats = {run.recipe: _run_stats(study.study, pair, run.recipe, _kind(run), study.seeds) for run in runs}
    recipes = {
        run.recipe: _compared(load_recipe(study.study, pair, run.recipe), run.recipe, stats, _teacher(run), teachers)
        for run in runs
    }
    return PairSummary(engine=engine, teacher=teachers[pair], recipes=recipes)


def _kind(run: PlainRun) -> Kind:
    if isinstance(run, DistilledRun):
        return "distilled"
    return "plain" if run.recipe == paths.PLAIN else "plain_long"


def _teacher(run: PlainRun) -> str | None:
    """The pair whose teacher a run learns from."""
    return run.teaching.pair if isinstance(run, DistilledRun) else None


def _run_stats(study: str, pair: str, recipe: str, kind: Kind, seeds: list[int]) -> RunStats:
    loaded = {str(seed): _load(study, pair, recipe, seed) for seed in seeds}
    runs = {seed: run for seed, run in loaded.items() if run is not None}
    table = {seed: _figures(run) for seed, run in runs.items()}

    def over_seeds(name: str) -> Stat:
        return statistics.stat({seed: figures[name] for seed, figures in table.items()})

    metrics = [run["metrics.json"] for run in runs.values()]

    def per_class(figure: str) -> dict[str, Stat]:
        found = {seed: run["metrics.json"]["test"]["per_class"] for seed, run in runs.items()}
        classes = metrics[0]["test"]["per_class"] if metrics else ()
        return {name: statistics.stat({seed: each[name][figure] for seed, each in found.items()}) for name in classes}

    return RunStats(
        kind=kind,
        runs=table,
        missing=[seed for seed in seeds if str(seed) not in runs],
        AP=over_seeds("AP"),
        AP50=over_seeds("AP50"),
        AP75=over_seeds("AP75"),
        AP_small=over_seeds("AP_small"),
        AP_medium=over_seeds("AP_medium"),
        AP_large=over_seeds("AP_large"),
        AR100=over_seeds("AR100"),
        val_AP50=over_seeds("val_AP50"),
        voc_AP50_area=over_seeds("voc_AP50_area"),
        voc_AP50_11point=over_seeds("voc_AP50_11point"),
        per_class_AP=per_class("AP"),
        per_class_AP50=per_class("AP50"),
        parameters=_largest([run["parameters"] for run in metrics]),
        flops=_largest([run["flops"] for run in metrics]),
        checkpoint_bytes=_largest([run["checkpoint_bytes"] for run in metrics]),
        milliseconds_per_image=over_seeds("milliseconds_per_image"),
        core_seconds=over_seeds("core_seconds"),
        wall_seconds=over_seeds("wall_seconds"),
        images_per_second=over_seeds("images_per_second"),
        peak_memory_bytes=_largest([run["timing.json"]["peak_memory_bytes"] for run in runs.values()]),
    )


def _load(study: str, pair: str, recipe: str, seed: int) -> dict[str, Any] | None:
    """The results of one run by file name, or None when any of them is absent."""
    files = {name: paths.run(study, pair, recipe, seed, name) for name in RESULTS}
    if not all(path.is_file() for path in files.values()):
        return None
    read: dict[str, Any] = {name: read_json(path) for name, path in files.items() if name != LEARNING}
    return {**read, LEARNING: read_learning(files[LEARNING])}


def _figures(run: dict[str, Any]) -> dict[str, float | None]:
    """What is compared over seeds, from the result files of one run."""
    test, timing = run["metrics.json"]["test"], run["timing.json"]
    return {
        **{name: test[name] for name in PRECISIONS},
        "val_AP50": run["metrics.json"]["val"]["AP50"],
        "voc_AP50_area": test["voc"]["AP50_area"],
        "voc_AP50_11point": test["voc"]["AP50_11point"],
        "milliseconds_per_image": run["latency.json"]["milliseconds_per_image"],
        "core_seconds": timing["core_seconds"],
        "wall_seconds": timing["wall_seconds"],
        "images_per_second": timing["images_per_second"],
        "core_seconds_per_image": timing["training_core_seconds"] / run[LEARNING][-1]["images"],
    }


def _compared(
    recipe: Recipe, name: str, stats: dict[str, RunStats], teacher: str | None, teachers: dict[str, RunStats]
) -> RecipeStats:
    """A recipe of one pair against the plain students among `stats`, and the teacher that it learns from."""

    def values(run: RunStats | None, name: str) -> dict[str, float]:
        seeds = run["runs"].items() if run else ()
        return {seed: value for seed, figures in seeds if (value := figures[name]) is not None}

    own, plain, plain_long = stats[name], stats.get(paths.PLAIN), stats.get(paths.PLAIN_LONG)
    ours, theirs = values(own, "AP50"), values(plain, "AP50")
    gain = statistics.paired(ours, theirs)
    method_levels = {method: taxonomy.level_of(method) for method in recipe.methods}
    return RecipeStats(
        **own,
        teacher=teacher,
        levels=taxonomy.ordered(set(method_levels.values())),
        methods=recipe.methods,
        method_levels=method_levels,
        schedule_factor=recipe.schedule_factor,
        overhead=statistics.ratio(values(own, "core_seconds_per_image"), values(plain, "core_seconds_per_image")),
        gain_equal_steps=gain,
        gain_equal_steps_AP=statistics.paired(values(own, "AP"), values(plain, "AP")),
        gain_equal_time=statistics.paired(ours, values(plain_long, "AP50")),
        gap_closed=statistics.gap_closed(ours, theirs, teachers[teacher]["AP50"]["mean"] if teacher else None),
        seeds_better=statistics.seeds_better(gain),
        verdict=statistics.verdict(gain),
    )


def _rows(pairs: dict[str, PairSummary]) -> list[Row]:
    rows = [
        Row(
            levels=recipe["levels"],
            pair=pair,
            recipe=name,
            AP50=recipe["AP50"],
            gain_equal_steps=recipe["gain_equal_steps"],
            gain_equal_time=recipe["gain_equal_time"],
            gap_closed=recipe["gap_closed"],
            seeds_better=recipe["seeds_better"],
            verdict=recipe["verdict"],
        )
        for pair, summary in pairs.items()
        for name, recipe in distilled(summary).items()
    ]
    return sorted(rows, key=lambda row: taxonomy.place(row["levels"]))


def _flattened(pair: PairSummary) -> Flattened | None:
    recipes = pair["recipes"]
    if paths.PLAIN not in recipes or paths.PLAIN_LONG not in recipes:
        return None
    plain, plain_long = recipes[paths.PLAIN], recipes[paths.PLAIN_LONG]
    return Flattened(
        plain_AP50=plain["AP50"],
        plain_long_AP50=plain_long["AP50"],
        difference=plain_long["gain_equal_steps"],
        factor=plain_long["schedule_factor"] / plain["schedule_factor"],
    )


def _largest(values: list[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
