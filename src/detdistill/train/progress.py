"""What a person sees while a run trains: a live line on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

PLAIN_SECONDS = 15.0


class TrainingProgress:
    """Steps, loss terms, images/s and time left. A context manager; `start` is the step a resumed run begins at."""

    def __init__(self, title: str, steps: int, start: int, batch: int, quiet: bool = False):
        self._title, self._steps, self._start, self._batch, self._quiet = title, steps, start, batch, quiet
        self._console = Console(stderr=True)
        self._began = self._told = time.monotonic()
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
        )
        self._task = self._bar.add_task(title, total=steps, completed=start, speed="")
        self._live = None if quiet or not self._console.is_terminal else Live(self._bar, console=self._console)

    def __enter__(self) -> TrainingProgress:
        if self._live:
            self._live.start()
        if self._start:
            self.say(f"resumed at step {self._start} of {self._steps}")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line of its own, such as a validation figure."""
        if not self._quiet:
            self._console.print(f"{self._title}: {text}", highlight=False, soft_wrap=True)

    def update(self, step: int, losses: Mapping[str, float]) -> None:
        """Tell of a finished step, with the means of the loss terms since the last update."""
        now = time.monotonic()
        rate = (step - self._start) / max(now - self._began, 1e-9)
        terms = " ".join(f"{name} {value:.3g}" for name, value in losses.items())
        if self._live:
            self._bar.update(self._task, completed=step, speed=f"{rate * self._batch:.0f} images/s")
            self._live.update(Group(self._bar, Text(f"  {terms}", style="dim")))
        elif not self._console.is_terminal and (now - self._told >= PLAIN_SECONDS or step == self._steps):
            self._told = now
            left = (self._steps - step) / rate
            self.say(f"step {step}/{self._steps}  {terms}  {rate * self._batch:.1f} images/s  {left:.0f} s left")
