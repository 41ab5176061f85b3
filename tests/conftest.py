"""A copy of the project in a repository of its own, for the tests that run its workflow."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported: the tests run in a process a core
MODULES = tempfile.TemporaryDirectory()
os.environ["HF_MODULES_CACHE"] = MODULES.name  # models with code of their own leave it there, not in a home
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"  # where the tests' own servers are

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where `DETDISTILL_MAY_SKIP` says, as a pattern, what an environment may lack, any other skip fails."""
    may = os.environ.get("DETDISTILL_MAY_SKIP")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if may is None or reporter is None:
        return
    if gone := [each for each in reporter.stats.get("skipped", []) if not re.search(may, str(each.longrepr))]:
        reporter.write_line(
            f"\n{len(gone)} skipped that must not be here, such as {gone[0].nodeid}: {gone[0].longrepr}"
        )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def batch():
    """Three images of other than square shape: one object, two, none."""
    import tiny  # brings PyTorch along, which not every test needs

    return tiny.batch(3, seed=3, size=tiny.WIDE)


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], "Clone"]:
    """Makes copies by name, all of the project as it is now, each with a `dvc.yaml` for the study `smoke`."""
    original = tmp_path_factory.mktemp("original")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for file in filter(None, listed.split("\0")):
        if (ROOT / file).is_file() and not file.startswith("reports/") and not file.endswith("dvc.lock"):
            (original / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, original / file)

    first = Clone(original)
    first.run("git", "init", "--quiet")
    first.run("detdistill", "pipeline", "--study", "smoke")

    def make(name: str) -> Clone:
        made = Clone(tmp_path_factory.mktemp(name))
        shutil.copytree(original, made.root, dirs_exist_ok=True)
        return made

    return make


class Clone:
    """The copy and a way to run commands in it, with its own source and one thread a process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = os.environ | {"PATH": path, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}

    def start(self, *command: str) -> subprocess.Popen[str]:
        """The running command, leader of a process group of its own."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, code: int = 0) -> str:
        """What the command printed; it must end with `code`."""
        process = self.start(*command)
        said, _ = process.communicate()
        assert process.returncode == code, f"{' '.join(command)} ended with {process.returncode}:\n{said}"
        return said
