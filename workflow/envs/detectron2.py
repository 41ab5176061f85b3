"""Put Detectron2 into `.venv`: the sources of one tested commit, and what they import. Needs `make environment` first.

DETECTRON2=/folder takes sources that lie there instead. COMPILE=1 builds the extension too, in some minutes; without
it torchvision's operators are used, which is enough for the detectors of this project.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from environment import VENV, pip, run

PYTHON = str(VENV / "bin" / "python")
PACKAGE = Path("detectron2", "__init__.py")
LOCK = Path(__file__).with_name("detectron2.lock")
SOURCE = "https://github.com/facebookresearch/detectron2"
COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"  # main of June 2026


def main() -> None:
    given = os.environ.get("DETECTRON2")
    folder = Path(given).resolve() if given else VENV / "detectron2"
    if given and not (folder / PACKAGE).is_file():
        sys.exit(f"error: DETECTRON2: {folder} holds no {PACKAGE}")
    if not given:
        fetch(folder)
    pip("--require-hashes", "--requirement", str(LOCK))
    run(PYTHON, "-m", "pip", "uninstall", "--yes", "--quiet", "--quiet", "detectron2")
    suffix = f"+{commit(folder)}"
    if os.environ.get("COMPILE") == "1":
        os.environ["D2_VERSION_SUFFIX"] = suffix  # its setup.py appends this to the version
        pip("--no-build-isolation", "--no-deps", str(folder))  # a copy of it all, which comes before the sources
    else:
        register(folder, suffix)
    run(PYTHON, "-c", "import detectron2; print('Detectron2', detectron2.__version__, 'in', *detectron2.__path__)")


def commit(folder: Path) -> str:
    """What its version ends in: the commit that is checked out there, and `.dirty` where its files are others.

    `local` where the folder is no checkout.
    """
    top, _, name = asked(folder, "rev-parse", "--show-toplevel", "--short=12", "HEAD").partition("\n")
    if top != str(folder):  # a checkout of something else may lie about it
        return "local"
    return f"g{name}.dirty" if asked(folder, "status", "--porcelain", "--untracked-files=no") else f"g{name}"


def asked(folder: Path, *question: str) -> str:
    """What git says of that folder; nothing where it is in no checkout."""
    command = ["git", "-C", str(folder), *question]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def register(folder: Path, suffix: str) -> None:
    """Put the sources on the path, as a package that pip lists and removes and whose version names the commit."""
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(VENV)}))  # Debian's own scheme is another
    [version] = re.findall(r'^__version__ = "(.+)"', (folder / PACKAGE).read_text(), re.MULTILINE)
    about = packages / f"detectron2-{version}{suffix}.dist-info"
    about.mkdir()
    files = {
        packages / "detectron2.pth": f"{folder}\n",
        about / "METADATA": f"Metadata-Version: 2.1\nName: detectron2\nVersion: {version}{suffix}\n",
        about / "RECORD": f"detectron2.pth,,\n{about.name}/METADATA,,\n{about.name}/RECORD,,\n",
    }
    for file, content in files.items():
        file.write_text(content)


def fetch(folder: Path) -> None:
    """The one commit, without its history, whole or not at all; what an earlier attempt left of it goes."""
    if (folder / PACKAGE).is_file() and asked(folder, "cat-file", "-t", COMMIT) == "commit":
        return
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    git = ("git", "-C", str(partial))
    partial.mkdir()
    run(*git, "init", "--quiet")
    run(*git, "fetch", "--quiet", "--depth", "1", SOURCE, COMMIT)
    run(*git, "checkout", "--quiet", COMMIT)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


if __name__ == "__main__":
    main()
