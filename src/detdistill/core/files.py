"""Whole files or none: every output is written under a temporary name in its own folder, then renamed."""

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from detdistill.core.errors import UserError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomic(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, making its folder; a reader sees the old file or the new one, never a part.

    Raises UserError when the disk is full or the place cannot be written; the old file, if any, then stays.
    """
    path = Path(path)
    # A fixed name: what a killed process left is overwritten by the next attempt, so nothing piles up.
    partial = path.with_name(f".{path.name}.partial")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def json_bytes(value: object) -> bytes:
    """`value` as strict JSON (no NaN, no infinity), keys sorted, one final newline: equal values, equal bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()


def write_json(path: str | Path, value: object) -> None:
    """Write `json_bytes(value)` atomically. Raises ValueError for NaN or infinity, UserError as `write_atomic`."""
    write_atomic(path, json_bytes(value))


def read_bytes(path: str | Path, missing: str = "") -> bytes:
    """The content of a file. Raises UserError as `regular`, and when reading fails."""
    regular(path, missing)
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def regular(path: str | Path, missing: str = "") -> Path:
    """The path again, of a file that can be read to its end.

    Raises UserError, in the words of `missing` if given, when there is none, and for a folder, a loop of links, a name
    that no file can have, and what waits for a writer or never ends: a pipe, a device.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise UserError(missing or f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: NUL or half a surrogate pair in the name
        raise UserError(f"{str(path)!r}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: {'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'}, a file is needed")
    return Path(path)


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises UserError, naming the file, when it is missing, not JSON or not an object."""
    try:
        value = json.loads(read_bytes(path).decode(), parse_constant=_refuse_constant)
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    except RecursionError:
        raise UserError(f"{path}: not JSON that a step wrote: nested too deep") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a JSON {type(value).__name__}, expected an object")
    return value


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes. Raises UserError when it cannot be read."""
    regular(path)
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def require_empty(folder: Path) -> None:
    """Raise UserError unless it is an empty folder, or nothing yet: what a command writes overwrites nothing."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder}: not empty; nothing is overwritten, name another folder")


@contextlib.contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turn an OSError while writing `path` into a UserError that names it."""
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno in _NO_SPACE else f"cannot be written: {error.strerror or error}"
        raise UserError(f"{path}: {reason}; nothing was written") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
