"""Commands of detdistill in forked processes: the imports are paid once, so thousands of starts are affordable."""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NoReturn

import detdistill
from detdistill import cli

SECONDS = 600


def preload() -> None:
    """Import every module of the package, so that a fork has it."""
    for module in pkgutil.walk_packages(detdistill.__path__, "detdistill."):
        if module.name != "detdistill.__main__":
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if str(error.name).startswith("detdistill"):
                    raise  # else an engine that this environment has not


@dataclass
class Outcome:
    """How a command ended: exit code, or the negative signal, and all that it printed."""

    code: int
    said: str
    seconds: float

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.said or self.code not in (0, 1, 2)

    @property
    def refused(self) -> bool:
        """One line and exit code 2."""
        return self.code == 2 and "error: " in self.said.splitlines()[-1] and not self.traceback


@dataclass
class Child:
    """A running command. Its descendants are killed with it."""

    pid: int
    output: IO[bytes]
    began: float = field(default_factory=time.monotonic)

    def kill(self) -> Outcome:
        os.killpg(self.pid, signal.SIGKILL)
        return self.wait()

    def wait(self) -> Outcome:
        _, status = os.waitpid(self.pid, 0)
        self.output.seek(0)
        said = self.output.read().decode(errors="replace")
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        return Outcome(code, said, time.monotonic() - self.began)


def start(folder: Path, *arguments: str, seconds: int = SECONDS) -> Child:
    """Begin `detdistill ARGUMENTS` in that folder, as a process of its own that ends after so many seconds at last."""
    output = tempfile.TemporaryFile()  # noqa: SIM115  read when the command has ended
    pid = os.fork()
    if pid == 0:
        _run(folder, arguments, output, seconds)
    os.setpgid(pid, pid)
    return Child(pid, output)


def run(folder: Path, *arguments: str, seconds: int = SECONDS) -> Outcome:
    """The same, to its end."""
    return start(folder, *arguments, seconds=seconds).wait()


def _run(folder: Path, arguments: tuple[str, ...], output: IO[bytes], seconds: int) -> NoReturn:
    code = 99
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
        sys.stdout, sys.stderr = (os.fdopen(each, "w", errors="backslashreplace", closefd=False) for each in (1, 2))
        signal.alarm(seconds)
        sys.argv = ["detdistill", *arguments]
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
