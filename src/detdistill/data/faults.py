"""What is wrong with a data set, collected, so that all of it is told at once instead of one fault a try."""

from collections.abc import Iterator
from contextlib import contextmanager

from detdistill.core.errors import UserError

SKIP = "`broken_images: skip` in data.yaml, `--broken-images skip` of study new, leaves out images that cannot be used"


class BrokenImageError(UserError):
    """An image that is missing or no image, or whose annotation cannot be read; it can be left out."""


class Faults:
    """Collects errors; `settle` raises them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._hint = ""

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Note a UserError that is raised inside, and go on behind it."""
        try:
            yield
        except UserError as error:
            self.lines += error.faults or [str(error)]
            self._hint = f"; {SKIP}" if isinstance(error, BrokenImageError) else self._hint

    def settle(self) -> None:
        """Raise UserError when there are any: the only one, or their number and the first, with a line for each."""
        if len(self.lines) == 1:
            raise UserError(self.lines[0] + self._hint)
        if self.lines:
            first = f"{len(self.lines)} faults in the data, listed above, the first of them: {self.lines[0]}"
            raise UserError(first + self._hint, self.lines)
