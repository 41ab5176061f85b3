"""Archives unpacked file by file: nothing outside the folder, nothing twice, and an interrupted one goes on.

Links and devices are refused: no data set of images needs them.
"""

import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

from detdistill.core.errors import UserError
from detdistill.core.files import explained

Member = tuple[str, int, Callable[[], IO[bytes]]]
"""Path in the folder, size in bytes, and what opens the content."""
_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, ValueError),  # zipfile's, of a kind or a password that it has not
    OSError,  # a damaged gzip, a name that is too long; what the disk refuses is told before
)


def unpack(archive: Path, folder: Path, limit: int) -> None:
    """Unpack a tar (plain or compressed) or zip below `folder`, passing over files that are already there.

    Raises UserError, naming the archive, when it is broken or no archive, when a member lies outside the folder, is a
    link or a device, when it holds more than `limit` bytes, and when the disk is full.
    """
    total = 0
    try:
        for name, size, opened in _members(archive, folder):
            total += size
            if total > limit:
                raise UserError(f"{archive}: holds more than the {limit} bytes that it may unpack to")
            _write(folder / name, size, opened)
    except _BROKEN as error:
        raise UserError(f"{archive}: broken, or nothing that can be unpacked here: {error}") from None


def _members(archive: Path, folder: Path) -> Iterator[Member]:
    if zipfile.is_zipfile(archive):
        return _of_zip(archive, folder)
    if tarfile.is_tarfile(archive):
        return _of_tar(archive, folder)
    raise UserError(f"{archive}: neither a tar nor a zip archive, or a broken one")


def _of_tar(archive: Path, folder: Path) -> Iterator[Member]:
    with tarfile.open(archive) as opened:
        for member in opened:
            _refuse(archive, folder, member.name, not (member.isreg() or member.isdir()))
            if member.isreg():
                yield member.name, member.size, partial(_opened, opened, member)


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise tarfile.ReadError(f"{member.name} has no content")
    return stream


def _of_zip(archive: Path, folder: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            _refuse(archive, folder, info.filename, stat.S_ISLNK(info.external_attr >> 16))
            if not info.is_dir():
                yield info.filename, info.file_size, partial(opened.open, info)


def _refuse(archive: Path, folder: Path, name: str, special: bool) -> None:
    """Raise UserError for a member outside the folder, or one that is `special`: a link or a device."""
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{archive}: refused: {name!r} would be unpacked outside the folder")
    if special:
        raise UserError(f"{archive}: refused: {name!r} is neither a file nor a folder")


def _write(target: Path, size: int, opened: Callable[[], IO[bytes]]) -> None:
    if target.is_file() and target.stat().st_size == size:
        return
    partial = target.with_name(f".{target.name}.partial")
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with opened() as source, open(partial, "wb") as written:
                shutil.copyfileobj(source, written)
            os.replace(partial, target)
        except BaseException as error:
            partial.unlink(missing_ok=True)
            if isinstance(error, gzip.BadGzipFile):  # an OSError, but of the archive, not of the disk
                raise tarfile.ReadError(str(error)) from None
            raise
