"""Downloads from a real server on this machine: verified, resumed, and every failure one line."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from server import Server, serving

from detdistill.core.errors import UserError
from detdistill.data import download
from detdistill.data.download import Archive, Content, Source, digest, ready
from detdistill.data.unpack import unpack

FILES = {"data/Annotations/1.xml": b"<annotation/>", "data/JPEGImages/1.jpg": b"picture" * 99}


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The folder that is served at `address`, and an empty project."""
    folder = tmp_path / "served"
    project = tmp_path / "project"
    folder.mkdir()
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.delenv(download.FOLDER, raising=False)
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda seconds: None))
    with serving(folder) as address:
        yield folder, address


def tar(file: Path, files: dict[str, bytes], **fields) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for field, value in fields.items():
                setattr(member, field, value)
            archive.addfile(member, io.BytesIO(content))
    return file


def zipped(file: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file


def source(file: Path, address: str, **changes) -> Source:
    checksum = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    archive = {"url": f"{address}/{file.name}", "checksum": checksum, "mib": 1, **changes.pop("archive", {})}
    return Source(**{"name": "pets", "archives": [Archive(**archive)], "mib": 1, "inside": "data", **changes})


@pytest.mark.parametrize("pack", [tar, zipped])
def test_a_good_archive_is_unpacked_once(served, pack):
    folder, address = served
    given = source(pack(folder / "pets.archive", FILES), address)
    assert ready(given) == Path("raw/pets")
    for name, content in FILES.items():
        assert Path("raw/pets", name.removeprefix("data/")).read_bytes() == content
    ready(given)
    assert Server.asked == ["pets.archive"]
    assert {file.name for file in Path("raw").iterdir()} == {"pets", "pets.json"}


def test_a_wrong_checksum_leaves_nothing(served, monkeypatch):
    folder, address = served
    monkeypatch.setattr(download, "RETRIES", 0)
    given = source(tar(folder / "a.tar", FILES), address, archive={"checksum": "md5:" + "0" * 32})
    with pytest.raises(UserError, match=r"/a\.tar: not what the study expects: .*hash"):
        ready(given)
    assert not Path("raw/pets").exists()
    assert not [file for file in Path("raw").rglob("*") if file.is_file()]


@pytest.mark.parametrize("fault", ["error", "cut"])
def test_a_fault_that_passes_is_tried_again(served, fault):
    folder, address = served
    given = source(tar(folder / "a.tar", FILES), address)
    Server.faults["a.tar"] = [fault]
    assert ready(given).is_dir()
    assert Server.asked == ["a.tar"] * 2


@pytest.mark.parametrize("fault", ["error", "cut"])
def test_a_fault_that_stays_is_one_line(served, fault, monkeypatch):
    folder, address = served
    monkeypatch.setattr(download, "RETRIES", 1)
    given = source(tar(folder / "a.tar", FILES), address)
    Server.faults["a.tar"] = [fault] * 2
    with pytest.raises(UserError, match=r"/a\.tar: not downloaded in 2 attempts: .*DETDISTILL_RAW") as caught:
        ready(given)
    assert "\n" not in str(caught.value)
    assert not Path("raw/pets").exists()


def test_an_archive_without_the_folder_is_one_line(served):
    folder, address = served
    with pytest.raises(UserError, match=r"/a\.tar: has no folder 'dat'$"):
        ready(source(tar(folder / "a.tar", FILES), address, inside="dat"))


def test_files_that_are_there_are_not_asked_for_again(served):
    folder, address = served
    first, second = (tar(folder / name, FILES) for name in ("a.tar", "b.tar"))
    one, other = source(first, address), source(second, address)
    both = one.model_copy(update={"archives": [*one.archives, *other.archives]})
    Server.faults["b.tar"] = ["error"] * (1 + download.RETRIES)
    with pytest.raises(UserError, match=r"/b\.tar: not downloaded"):
        ready(both)
    ready(both)
    assert Server.asked.count("a.tar") == 1


def test_unpacking_goes_on_where_it_stopped(tmp_path):
    archive = tar(tmp_path / "a.tar", FILES)
    unpack(archive, tmp_path / "out", 2**20)
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.xml")}
    (tmp_path / "out/data/JPEGImages/1.jpg").unlink()
    unpack(archive, tmp_path / "out", 2**20)
    assert (tmp_path / "out/data/JPEGImages/1.jpg").read_bytes() == FILES["data/JPEGImages/1.jpg"]
    assert all(file.stat().st_mtime_ns == time for file, time in times.items())


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "data/../../evil"])
@pytest.mark.parametrize("pack", [tar, zipped])
def test_an_archive_that_would_write_elsewhere(tmp_path, pack, name):
    archive = pack(tmp_path / "a.archive", {name: b"evil"})
    with pytest.raises(UserError, match=r"a\.archive: refused: .* outside the folder"):
        unpack(archive, tmp_path / "out", 2**20)
    assert not (tmp_path / "evil").exists()
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    archive = tar(tmp_path / "a.tar", {"link": b""}, type=kind, linkname="data")
    with pytest.raises(UserError, match=r"a\.tar: refused: "):
        unpack(archive, tmp_path / "out", 2**20)


@pytest.mark.parametrize("pack", [tar, zipped])
def test_a_broken_or_too_large_archive(tmp_path, pack):
    archive = pack(tmp_path / "a.archive", {"a": bytes(range(256)) * 40})
    with pytest.raises(UserError, match=r"a\.archive: holds more than the 9 bytes"):
        unpack(archive, tmp_path / "out", 9)
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"a\.archive: .*broken"):
        unpack(archive, tmp_path / "out", 2**20)


def test_too_little_space_is_told_before_any_download(served):
    folder, address = served
    given = source(tar(folder / "a.tar", FILES), address, mib=2**40)
    with pytest.raises(UserError, match=r"raw: pets needs \d+ MiB to download and unpack, \d+ MiB are free"):
        ready(given)
    assert Server.asked == []


def test_a_disk_that_fills_up_while_unpacking(tmp_path):
    archive = tar(tmp_path / "a.tar", FILES)
    target = tmp_path / "out/data/JPEGImages"
    target.mkdir(parents=True)
    (target / ".1.jpg.partial").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"1\.jpg: the disk is full; nothing was written"):
        unpack(archive, tmp_path / "out", 2**20)
    assert not list(target.iterdir())


def content(root: Path) -> Content:
    folders = ["Annotations", "JPEGImages"]
    return Content(folders=folders, sha256=digest(root, folders))


@pytest.fixture
def unpacked(tmp_path, monkeypatch, served) -> Path:
    """The unpacked data in a folder that DETDISTILL_RAW names."""
    for name, data in FILES.items():
        file = tmp_path / "given/pets" / name.removeprefix("data/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    monkeypatch.setenv(download.FOLDER, str(tmp_path / "given"))
    return tmp_path / "given/pets"


def test_unpacked_data_of_the_named_folder_are_used(served, unpacked):
    folder, address = served
    given = source(tar(folder / "a.tar", FILES), address, content=content(unpacked))
    assert ready(given).resolve() == unpacked.resolve()
    assert ready(given).resolve() == unpacked.resolve()
    assert Server.asked == []


def test_altered_data_of_the_named_folder_are_refused(served, unpacked):
    folder, address = served
    given = source(tar(folder / "a.tar", FILES), address, content=content(unpacked))
    (unpacked / "JPEGImages/1.jpg").write_bytes(b"other")
    with pytest.raises(UserError, match=r"given/pets: other data than the study's"):
        ready(given)


def test_an_archive_of_the_named_folder_is_verified_and_used(served, tmp_path, monkeypatch):
    folder, address = served
    (tmp_path / "given/pets").mkdir(parents=True)
    monkeypatch.setenv(download.FOLDER, str(tmp_path / "given"))
    given = source(tar(folder / "a.tar", FILES), address)
    (tmp_path / "given/pets/a.tar").write_bytes(b"other")
    with pytest.raises(UserError, match=r"given/pets/a\.tar: sha256 is \w+, expected"):
        ready(given)
    (folder / "a.tar").rename(tmp_path / "given/pets/a.tar")
    assert ready(given).is_dir()
    assert Server.asked == []


def test_two_data_sets_under_one_name(served):
    folder, address = served
    ready(source(tar(folder / "a.tar", FILES), address))
    with pytest.raises(UserError, match=r"raw/pets: holds another data set of that name"):
        ready(source(tar(folder / "b.tar", {**FILES, "data/2": b""}), address))


def test_an_archive_without_a_checksum_needs_pinned_content():
    with pytest.raises(ValueError, match="an archive without `checksum` needs `content`"):
        Source(name="pets", archives=[Archive(url="http://x/a.tar", mib=1)], mib=1)


@pytest.mark.parametrize("inside", ["../../precious", "/precious", "data/../../.."])
def test_a_folder_outside_the_archives_is_never_moved(served, inside):
    folder, address = served
    with pytest.raises(ValueError, match="must be a folder of the archives"):
        source(tar(folder / "pets.archive", FILES), address, inside=inside)


def test_unpacked_content_is_verified(served):
    folder, address = served
    wrong = Content(folders=["JPEGImages"], sha256="0" * 64)
    given = source(tar(folder / "a.tar", FILES), address, archive={"checksum": None}, content=wrong)
    with pytest.raises(UserError, match=r"/a\.tar: other data than the study's: SHA-256 of JPEGImages"):
        ready(given)
    assert not Path("raw/pets").exists()
