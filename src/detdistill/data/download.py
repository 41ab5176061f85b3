"""Published data sets: found in the folder of DETDISTILL_RAW or downloaded, and verified either way.

DETDISTILL_RAW/NAME may hold the unpacked data, where their content is pinned by a digest, or else the archives.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Annotated, Self

import pooch
from pydantic import Field, field_validator, model_validator
from requests.exceptions import RequestException

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import explained, json_bytes, sha256, write_atomic
from detdistill.core.params import Name, Slice
from detdistill.data.unpack import unpack

FOLDER = "DETDISTILL_RAW"
RETRIES = 3
SECONDS = 60
"""How long a server may say nothing."""
MIB = 2**20


class Archive(Slice):
    """A file to download; `mib` is its size, rounded up."""

    url: str
    checksum: Annotated[str, Field(pattern="^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")] | None = None
    mib: Annotated[int, Field(gt=0)]

    @property
    def file(self) -> str:
        """The name of the file: the last part of its address."""
        return self.url.rstrip("/").rsplit("/", 1)[-1]


class Content(Slice):
    """What the unpacked data must be: one SHA-256 over the names and bytes of all files in these folders."""

    folders: Annotated[list[str], Field(min_length=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Source(Slice):
    """A published data set. It becomes `raw/NAME`: the folder `inside` its archives, which unpack to `mib`.

    An archive needs a checksum, or the content a digest.
    """

    name: Name
    archives: Annotated[list[Archive], Field(min_length=1)]
    mib: Annotated[int, Field(gt=0)]
    inside: str = "."
    content: Content | None = None

    @field_validator("inside")
    @classmethod
    def _stays_inside(cls, inside: str) -> str:
        # It is moved: a folder elsewhere would be the user's own.
        if Path(inside).is_absolute() or ".." in Path(inside).parts:
            raise ValueError(f"must be a folder of the archives, found {inside!r}")
        return inside

    @model_validator(mode="after")
    def _verifiable(self) -> Self:
        if self.content is None and any(archive.checksum is None for archive in self.archives):
            raise ValueError("an archive without `checksum` needs `content`, or nothing says what was downloaded")
        return self


def ready(source: Source) -> Path:
    """The folder `raw/NAME` with the data, downloaded and unpacked if need be; what is there already is used again.

    Raises UserError for a wrong checksum or content, no network, too little space, an archive that would write
    elsewhere, and another data set under this name.
    """
    folder, given = paths.RAW / source.name, _given(source)
    if given and source.content and _holds(given, source.content):
        _link(folder, given)
    if folder.exists():
        _verify(folder, source)
        return folder
    partial = folder.with_name(f".{source.name}.partial")
    _require_space(source, given)
    for archive in source.archives:
        unpack(_archive(archive, source, given), partial, source.mib * MIB)
    inside = partial / source.inside
    if not inside.is_dir():
        raise UserError(f"{source.archives[0].url}: has no folder {source.inside!r}")
    if source.content:
        _require_content(inside, source.content, source.archives[0].url)
    with explained(folder):
        write_atomic(_note(source), _identity(source))
        inside.rename(folder)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(_cellar(source), ignore_errors=True)
    return folder


def digest(folder: Path, inside: list[str]) -> str:
    """One SHA-256 over the path and the SHA-256 of every file in these folders, sorted by path."""
    files = {
        file.relative_to(folder).as_posix(): file
        for name in inside
        for file in (folder / name).rglob("*")
        if file.is_file()
    }
    lines = [f"{sha256(files[name])}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _given(source: Source) -> Path | None:
    """The data set's folder below DETDISTILL_RAW, if there is one."""
    folder = Path(os.environ.get(FOLDER, ""), source.name)
    return folder.resolve() if os.environ.get(FOLDER) and folder.is_dir() else None


def _holds(given: Path, content: Content) -> bool:
    """Whether the folder has the unpacked data. Raises UserError when it has others."""
    if not any((given / name).is_dir() for name in content.folders):
        return False
    _require_content(given, content, str(given))
    return True


def _require_content(folder: Path, content: Content, where: str) -> None:
    found = digest(folder, content.folders)
    if found != content.sha256:
        raise UserError(
            f"{where}: other data than the study's: SHA-256 of {', '.join(content.folders)} is {found[:12]}, expected "
            f"{content.sha256[:12]}"
        )


def _link(folder: Path, given: Path) -> None:
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink():
            folder.unlink()
        if not folder.exists():
            folder.symlink_to(given, target_is_directory=True)


def _verify(folder: Path, source: Source) -> None:
    """Raise UserError when the folder is not what the source makes."""
    if source.content:
        _require_content(folder, source.content, str(folder))
    elif not _note(source).is_file() or _note(source).read_bytes() != _identity(source):
        raise UserError(
            f"{folder}: holds another data set of that name, or one that `detdistill data` did not unpack; move it "
            f"away or give the source another name"
        )


def _note(source: Source) -> Path:
    """Says which archives `raw/NAME` was made from."""
    return paths.RAW / f"{source.name}.json"


def _identity(source: Source) -> bytes:
    return json_bytes({"archives": [archive.checksum for archive in source.archives], "inside": source.inside})


def _cellar(source: Source) -> Path:
    """Where archives wait to be unpacked."""
    return paths.RAW / f".{source.name}.archives"


def _require_space(source: Source, given: Path | None) -> None:
    places = [_cellar(source), *([given] if given else [])]
    missing = [each for each in source.archives if not any((place / each.file).is_file() for place in places)]
    needed = source.mib + sum(archive.mib for archive in missing)
    with explained(paths.RAW):
        paths.RAW.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(paths.RAW).free // MIB
    if free < needed:
        raise UserError(f"{paths.RAW}: {source.name} needs {needed} MiB to download and unpack, {free} MiB are free")


def _archive(archive: Archive, source: Source, given: Path | None) -> Path:
    """The verified archive: from DETDISTILL_RAW, of an earlier attempt, or downloaded."""
    if given and (given / archive.file).is_file():
        _require_checksum(given / archive.file, archive.checksum)
        return given / archive.file
    store = pooch.create(
        path=_cellar(source),
        base_url="",
        registry={archive.file: archive.checksum},
        urls={archive.file: archive.url},
        retry_if_failed=RETRIES,
    )
    file = _cellar(source) / archive.file
    with explained(file):
        if archive.checksum is None:
            file.unlink(missing_ok=True)  # nothing says whether an earlier attempt's is whole
        try:
            store.fetch(archive.file, downloader=pooch.HTTPDownloader(progressbar=True, timeout=SECONDS))
        except RequestException as error:
            raise UserError(
                f"{archive.url}: not downloaded in {1 + RETRIES} attempts: {error}; without a network, put the file "
                f"into {source.name}/ below the folder that {FOLDER} names"
            ) from None
        except ValueError as error:
            raise UserError(f"{archive.url}: not what the study expects: {error}") from None
    return file


def _require_checksum(file: Path, checksum: str | None) -> None:
    kind, _, expected = (checksum or "").partition(":")
    if checksum and (found := pooch.file_hash(str(file), alg=kind)) != expected:
        raise UserError(f"{file}: {kind} is {found}, expected {expected}")
