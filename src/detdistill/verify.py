"""Whether the results of a study on the disk are what its steps wrote, and were made from what lies there now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detdistill.core import paths, record
from detdistill.core.code import differs, module_file
from detdistill.core.errors import UserError
from detdistill.dataset import manifest


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    file: Path
    damaged: bool
    """Else it is whole and was made from something that is another now."""
    said: str

    def __str__(self) -> str:
        return f"{self.file}: {self.said}"


def verify(study: str) -> tuple[list[Finding], int]:
    """Hold every file that a record of the study names against its digest, and every image against its annotation.

    Returns:
        What differs, and the number of files that were held against a digest, images left out.

    Raises:
        UserError: a study whose parameters or data cannot be read.
    """
    findings, count = verify_results(study)
    known = {each.file for each in findings}  # an annotation file is among the data step's own
    return findings + [each for each in _altered_data(study) if each.file not in known], count


def verify_results(study: str) -> tuple[list[Finding], int]:
    """As `verify`, without the images."""
    records = sorted(file for file in _results(study) if file.name in record.RECORDS)
    findings: list[Finding] = []
    count = 0
    for file in records:
        try:
            content = record.read(file)
        except UserError as error:
            findings.append(Finding(file, True, str(error).removeprefix(f"{file}: ")))
            continue
        wrote: dict[str, str] = content.get("wrote", {})
        count += 1 + len(wrote)
        for name, digest in wrote.items():
            if differs(file.with_name(name), digest):
                there = file.with_name(name).is_file()
                findings.append(Finding(file.with_name(name), True, "not what its step wrote" if there else "is gone"))
        findings += [Finding(file, False, f"made from another {each}") for each in _changed(content)]
    return findings, count


def _results(study: str) -> Iterator[Path]:
    for folder in (paths.data(study, ""), Path("runs", study), paths.summary(study).parent):
        yield from folder.rglob("*.json")


def _changed(content: dict[str, dict[str, str]]) -> list[Path]:
    used = {Path(file): digest for file, digest in content.get("used", {}).items()}
    used |= {_shown(module_file(name)): digest for name, digest in content.get("code", {}).items()}
    return [file for file, digest in used.items() if differs(file, digest)]


def _shown(file: Path) -> Path:
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file


def _altered_data(study: str) -> Iterator[Finding]:
    data = manifest.load(study)
    for name in data.splits:
        try:
            split = data.split(name)
        except UserError as error:
            yield _said(error)
            continue
        for index in range(len(split)):
            try:
                split.image(index)
            except UserError as error:
                yield _said(error)


def _said(error: UserError) -> Finding:
    file, _, said = str(error).partition(": ")
    return Finding(Path(file), True, said)
