"""Make `.venv` from requirements.lock, or repair it; quick when nothing has changed. Needs only the standard library.

A stamp, written last, says what the environment holds. Without a stamp that is right the environment is made anew.
"""

import hashlib
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
STAMP = VENV / "installed"
LOCK = ROOT / "requirements.lock"
NEEDED = (3, 11)
PROBE = (
    "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ['torch', 'snakemake', 'dvc', 'detdistill'])))"
)


def main() -> None:
    if sys.version_info < NEEDED:
        found = platform.python_version()
        sys.exit(f"error: Python 3.11 or newer is needed, this is {found}; name another: make PYTHON=python3.12 ...")
    # The scripts of an environment hold its path, so a moved one is not this one.
    place = f"{platform.python_version()} {VENV}"
    content = hashlib.sha256(LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamped = STAMP.read_text().splitlines() if STAMP.is_file() else []
    usable = stamped[:1] == [place] and works()
    if usable and stamped[1:] == [content]:
        return
    STAMP.unlink(missing_ok=True)
    if not usable:
        print("Making .venv; the first time this downloads a few GB", flush=True)
        # Resolved, because this may run inside the very environment that it clears.
        run(str(Path(sys.executable).resolve()), "-m", "venv", "--clear", str(VENV))
    pip("--require-hashes", "--requirement", str(LOCK))
    pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    STAMP.write_text(f"{place}\n{content}\n")


def works() -> bool:
    """Whether the environment's Python starts and finds the main packages."""
    try:
        return subprocess.run([str(VENV / "bin" / "python"), "-c", PROBE], check=False).returncode == 0
    except OSError:
        return False


def pip(*arguments: str) -> None:
    python = str(VENV / "bin" / "python")
    run(python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *arguments)


def run(*command: str) -> None:
    """Run it or stop, with its own message on the terminal."""
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(code)


if __name__ == "__main__":
    main()
