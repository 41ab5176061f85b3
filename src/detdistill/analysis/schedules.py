"""The study as its parameters say it: which schedule and which baseline every student has."""

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.params import DistilledRun, PlainRun, Recipe, Study, load_recipe


class Schedules:
    """The study's recipes by pair, with the schedule of each and the plain recipe that it is held against."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.slices = {(run.pair, run.recipe): load_recipe(study.study, run.pair, run.recipe) for run in self.students}

    @property
    def students(self) -> list[PlainRun]:
        """Plain ones first."""
        return [*self.study.plain, *self.study.distilled]

    def schedule(self, run: PlainRun) -> float:
        """The factor on the student's number of steps."""
        return self.slices[run.pair, run.recipe].schedule_factor

    def source(self, run: PlainRun) -> Recipe:
        """The slice that says a recipe's methods: its own, or the one it is like."""
        return self.slices[run.pair, run.source if isinstance(run, DistilledRun) else run.recipe]

    def plain(self, pair: str) -> list[str]:
        """The plain recipes of a pair, the shortest schedule first."""
        return [run.recipe for run in sorted((run for run in self.study.plain if run.pair == pair), key=self.schedule)]

    def control(self, run: PlainRun) -> str:
        """The plain recipe of the same schedule. Raises UserError without one."""
        if not isinstance(run, DistilledRun):
            return self.plain(run.pair)[0]
        for plain in self.plain(run.pair):
            if self.slices[run.pair, plain].schedule_factor == self.schedule(run):
                return plain
        where = paths.params(self.study.study, run.pair, run.recipe)
        raise UserError(f"{where}: schedule_factor: {self.schedule(run):g} has no plain student of {run.pair}")
