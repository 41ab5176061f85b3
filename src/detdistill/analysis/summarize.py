"""The `summarize` step: every run of a study becomes `summary.json`, and what cannot repeat `cost.json`.

A run without results is listed as missing.
"""

from statistics import fmean

from scipy.stats import ttest_1samp

from detdistill.analysis import cost, runs, slices
from detdistill.analysis.compared import compared, families, family_summary, standings
from detdistill.analysis.detected import SPLIT, Reader
from detdistill.analysis.effects import NEGLIGIBLE
from detdistill.analysis.runs import AllRuns, Runs, run_stats
from detdistill.analysis.schedules import Schedules
from detdistill.analysis.summary import PairSummary, Summary
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import write_json
from detdistill.core.params import PlainRun, load_study
from detdistill.core.timing import measure
from detdistill.dataset import manifest

UNLEARNT = 0.025  # one-sided level of the test that a plain student fell


def summarize(study_name: str) -> None:
    """Write `summary.json`, `cost.json` and the step's own `timing.json` below `reports/STUDY`.

    Raises UserError when a params file, the data or a result is unreadable, and for a plain student that has unlearnt.
    """
    with measure("summarize") as spent:
        schedules = Schedules(load_study(study_name))
        data = manifest.load(study_name)
        reader = Reader(data.split(SPLIT))
        found = runs.read(schedules.study, reader)
        for plain in schedules.study.plain:
            _learnt(study_name, plain, found[plain.pair, plain.recipe])
        write_json(paths.summary(study_name), build(schedules, found, data.digest, reader.size_bounds))
        write_json(paths.summary(study_name).with_name("cost.json"), cost.build(schedules, found))
    spent.record(paths.summary(study_name).with_name("timing.json"), ("summary.json", "cost.json"))


def _learnt(study: str, plain: PlainRun, found: Runs) -> None:
    """Refuse a plain student that ends below its first validation: a gain over it would be a recovery.

    Raises UserError where the fall is larger than a point by a t-test over its seeds; a single seed cannot tell.
    """
    curves = [[point["AP50"] or 0.0 for point in result.learning] for result in found.results.values()]
    falls = [curve[0] - curve[-1] for curve in curves]
    if len(falls) > 1 and ttest_1samp(falls, NEGLIGIBLE, alternative="greater").pvalue < UNLEARNT:
        first, last = (100 * fmean(curve[place] for curve in curves) for place in (0, -1))
        where = paths.side(study, plain.pair, paths.STUDENT)
        raise UserError(
            f"{where}: {plain.recipe} ends at {last:.1f} AP50 on validation, below the {first:.1f} of its "
            "first validation; a gain over it would be a recovery"
        )


def build(schedules: Schedules, found: AllRuns, data: str, size_bounds: list[float]) -> Summary:
    """The summary of a study from all of its runs."""
    study, of = schedules.study, families(schedules, found)
    standing = standings(schedules, found, of)
    pairs = {
        pair.pair: PairSummary(
            engine=pair.engine,
            teacher=run_stats(found[pair.pair, paths.TEACHER]),
            plain=schedules.plain(pair.pair),
            recipes={
                run.recipe: compared(schedules, run, found, standing)
                for run in schedules.students
                if run.pair == pair.pair
            },
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
