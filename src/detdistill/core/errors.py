"""The one exception for everything that is the user's to mend: params, files, disk space."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Bad input, told in one sentence: the file, the field, what was found and what is allowed.

    The command line prints `error: ...` and exits with code 2; no traceback. Where one sentence sums up many faults,
    `faults` has a line for each, and they are printed before it.
    """

    def __init__(self, message: str, faults: Iterable[str] = ()) -> None:
        super().__init__(_line(message))
        self.faults = [_line(fault) for fault in faults]


class DivergedError(UserError):
    """A training whose losses or weights are not finite any more."""


def near(name: object, allowed: Iterable[object]) -> str:
    """The end of an error sentence about an unknown name: `; did you mean 'x'?`, or else the names allowed."""
    names = [str(each) for each in allowed]
    close = get_close_matches(str(name), names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    if not names:
        return "; none is allowed here"
    return f"; allowed: {', '.join(sorted(names))}"


_LONGEST = 1000
"""Characters of a line; a name of 5,000 must not fill the screen."""


def _line(text: str) -> str:
    line, half = " ".join(text.split()), _LONGEST // 2
    return line if len(line) <= _LONGEST else f"{line[:half]} ... {line[-half:]}"
