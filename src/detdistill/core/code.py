"""The code and the files that a step works with, as they were when it began."""

import sys
from collections.abc import Iterable
from pathlib import Path

from detdistill.core.errors import UserError
from detdistill.core.files import sha256
from detdistill.core.params import AS_READ

_PACKAGE = __name__.partition(".")[0]
_ENTRY = {f"{_PACKAGE}.{name}" for name in ("cli", "__main__", "turn")}  # which step runs and when, not what it finds
_ROOT = Path(__file__).parents[2]


def loaded() -> dict[str, Path]:
    """Name -> file of every first-party module that is loaded and that a result can depend on."""
    return {
        name: Path(module.__file__)
        for name, module in sorted(sys.modules.items())
        if name.startswith(f"{_PACKAGE}.") and name not in _ENTRY and module.__file__
    }


def module_file(name: str) -> Path:
    """Where the module of that name lies, loaded or not."""
    file = _ROOT.joinpath(*name.split("."))
    return file / "__init__.py" if file.is_dir() else file.with_suffix(".py")


class Used:
    """Holds what a step has read against the disk when the step ends: an edit under way must not pass as used.

    Args:
        files: what the step has read, relative to the project, beside the loaded code; of a slice that has been read
            already, what was read counts.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = {file: AS_READ.get(file.resolve()) or sha256(file) for file in files}
        self.code = {name: sha256(file) for name, file in loaded().items()}

    def check(self) -> None:
        """Raise UserError, naming the file, when one has changed; call it before anything is written."""
        code = {module_file(name): digest for name, digest in self.code.items()}
        for file, digest in (self.files | code).items():
            if differs(file, digest):
                raise UserError(f"{file}: changed while this step ran; nothing was written, run it again")


def differs(file: Path, digest: str) -> bool:
    """Whether the file is not there, or not the one of that SHA-256."""
    return not file.is_file() or sha256(file) != digest
