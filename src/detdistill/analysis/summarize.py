"""The `summarize` step: every run of a study becomes `summary.json`, and what cannot repeat `cost.json`.

A run without results is listed as missing.
"""

from detdistill.analysis import cost, runs, slices
from detdistill.analysis.compared import compared, families, family_summary
from detdistill.analysis.detected import SPLIT, Reader
from detdistill.analysis.effects import effects
from detdistill.analysis.runs import AllRuns, run_stats
from detdistill.analysis.schedules import Schedules
from detdistill.analysis.summary import PairSummary, RecipeStats, Summary
from detdistill.core import paths
from detdistill.core.files import write_json
from detdistill.core.params import PlainRun, load_study
from detdistill.core.timing import measure
from detdistill.dataset import manifest


def summarize(study_name: str) -> None:
    """Write `summary.json`, `cost.json` and the step's own `timing.json` below `reports/STUDY`.

    Raises UserError when a params file, the data or a result is unreadable.
    """
    with measure("summarize") as spent:
        schedules = Schedules(load_study(study_name))
        data = manifest.load(study_name)
        reader = Reader(data.split(SPLIT))
        found = runs.read(schedules.study, reader)
        write_json(paths.summary(study_name), build(schedules, found, data.digest, reader.size_bounds))
        write_json(paths.summary(study_name).with_name("cost.json"), cost.build(schedules, found))
    spent.record(paths.summary(study_name).with_name("timing.json"), ("summary.json", "cost.json"))


def build(schedules: Schedules, found: AllRuns, data: str, size_bounds: list[float]) -> Summary:
    """The summary of a study from all of its runs."""
    study, of = schedules.study, families(schedules, found)
    told = effects(of)

    def student(run: PlainRun) -> RecipeStats:
        key = (run.pair, schedules.control(run))
        return compared(schedules, run, found, of.get(key), told.get(key, {}).get(run.recipe))

    pairs = {
        pair.pair: PairSummary(
            engine=pair.engine,
            teacher=run_stats(found[pair.pair, paths.TEACHER]),
            plain=schedules.plain(pair.pair),
            recipes={run.recipe: student(run) for run in schedules.students if run.pair == pair.pair},
            families=[family_summary(schedules, key, family) for key, family in of.items() if key[0] == pair.pair],
        )
        for pair in study.pairs
    }
    return Summary(
        study=study.study,
        title=study.title,
        seeds=study.seeds,
        data=data,
        params=slices.digests(study),
        size_bounds=size_bounds,
        pairs=pairs,
    )
