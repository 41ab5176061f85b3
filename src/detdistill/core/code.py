"""The code and the files that a step works with, as they were when it began."""

import sys
from collections.abc import Iterable
from pathlib import Path

from detdistill.core.errors import UserError
from detdistill.core.files import sha256

_PACKAGE = __name__.partition(".")[0]
_ENTRY = {f"{_PACKAGE}.cli", f"{_PACKAGE}.__main__"}  # they only dispatch


def loaded() -> dict[str, Path]:
    """Name -> file of every first-party module that is loaded and that a result can depend on."""
    return {
        name: Path(module.__file__)
        for name, module in sorted(sys.modules.items())
        if name.startswith(f"{_PACKAGE}.") and name not in _ENTRY and module.__file__
    }


class Unchanged:
    """Holds what a step has read against the disk when the step ends: an edit under way must not pass as used.

    Args:
        files: what the step has read, beside the loaded code.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._digests = {file: sha256(file) for file in [*files, *loaded().values()]}

    def check(self) -> None:
        """Raise UserError, naming the file, when one has changed; call it before anything is written."""
        for file, digest in self._digests.items():
            if not file.exists() or sha256(file) != digest:
                raise UserError(f"{file}: changed while this step ran; nothing was written, run it again")
