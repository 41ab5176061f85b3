"""A step's record, `timing.json` and its like: what the step cost, what it has read and what it wrote, with digests.

Later steps read a result only when it still is what its record says, so a damaged file never becomes a figure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from detdistill.core.code import Used
from detdistill.core.errors import UserError
from detdistill.core.files import json_bytes, read_bytes, read_json, regular, sha256, write_json

RECORDS = ("timing.json", "evaluation.json", "latency.json")
"""The names that records have, beside what they are about."""


def write(path: Path, content: dict[str, Any], used: Used | None, wrote: Iterable[str]) -> None:
    """Write a record of these files, which lie in its folder; a digest seals the record itself.

    Raises UserError when the disk is full.
    """
    content = content | {"wrote": {name: sha256(path.with_name(name)) for name in wrote}}
    if used:
        content |= {"used": {file.as_posix(): digest for file, digest in used.files.items()}, "code": used.code}
    write_json(path, content | {"seal": _seal(content)})


def read(path: Path) -> dict[str, Any]:
    """A record whose seal is whole and that is byte for byte as it was written. Raises UserError, also when missing."""
    content = read_json(path)
    as_written = json_bytes(content) == read_bytes(path)
    if content.pop("seal", None) != _seal(content) or not as_written:
        raise UserError(f"{path}: damaged: its content does not match its digest; remove it and run its step again")
    return content


def intact(path: Path) -> Path:
    """The path again. Raises UserError when the file is not what its step wrote; one without a record passes."""
    regular(path)
    for name in RECORDS:
        record = path.with_name(name)
        if record.is_file() and (digest := read(record).get("wrote", {}).get(path.name)):
            if sha256(path) != digest:
                raise UserError(
                    f"{path}: damaged: not what {record} says was written; remove it and run its step again"
                )
            break
    return path


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json_bytes(content)).hexdigest()
