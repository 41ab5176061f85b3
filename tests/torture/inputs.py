"""Bad inputs by the hundred: slices of every schema, files of every reader. One line and exit code 2, or accepted.

What is tried is drawn by Hypothesis. Each case runs in a project inside a folder of its own; a command in a name would
leave a file PWNED, and whatever else changes beside the project counts as touched.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from detdistill import project

from . import forked, study
from .table import Row

COMMANDS = ["x&touch PWNED&", "$(touch PWNED)", "`touch PWNED`", "a;touch PWNED", "'; touch PWNED; '", "| touch PWNED"]
NAMES = ["", "\0", "\ud800", "..", "../../precious", "/etc/passwd", "x" * 300, "x" * 5000, "a\nb", "teacher", *COMMANDS]
NUMBERS = [0, -1, 1, 2, 10**9, 10**30, 2**63, 0.5, 1e-300, 1e308, -0.0, float("inf"), float("nan"), 10**400]
VALUES = st.one_of(
    st.sampled_from([*NAMES, *NUMBERS, None, True, False, [], {}, [[]], [1], [0, 0], {"a": 1}, "2026-02-30", "5e-4"]),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.one_of(st.integers(-2, 70), st.floats(width=32)), max_size=4),
)
TEXTS = [
    "[" * 20_000, "{a: " * 20_000, "- " * 20_000, "study: !!int abc", "title: 2026-02-30", f"seeds: [{'9' * 5000}]",
    "a: !!bool x", "a: !!set [a]", "a: !!timestamp x", 'a: "\\UFFFFFFFF"', 
    "a: !!python/object/apply:os.system [touch PWNED]",
    "&a [*a]", "a: 1\na: 2", "\x00", "", "3", "- a", "? [a]\n: b", "<<: 3", "a: 1\n---\nb: 2",
]  # fmt: skip
SPECIAL: dict[str, Callable[[Path], object]] = {
    "folder": lambda path: path.mkdir(),
    "loop": lambda path: path.symlink_to(path.name),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "pipe": lambda path: os.mkfifo(path),
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "empty": lambda path: path.write_bytes(b""),
}
BYTES = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True), st.just(0)),
    st.tuples(st.just("insert"), st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
)


def _each(examples: int, seed: int, strategy: Any, case: Callable[[Any], None]) -> None:
    """Run the case on so many draws; it collects what it finds instead of stopping."""

    @settings(
        max_examples=examples, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=seed == 0,
    )  # fmt: skip
    @given(strategy)
    def run(drawn: Any) -> None:
        case(drawn)

    run()


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _places(each, (*place, key))


def _changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """The value with another one at that place; a key of its own where the place is a mapping and `new` a pair."""
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = _changed(value[place[0]], place[1:], new)
    return copy


class Bench:
    """A project with neighbours, and the verdict on a command in it."""

    def __init__(self, root: Path, row: Row) -> None:
        self.root, self.row = root, row
        self.project = root / "outer" / "project"

    def lay(self, fill: Callable[[Path], None]) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "outer" / "precious").mkdir(parents=True)
        (self.root / "outer" / "precious" / "kept.txt").write_text("kept")
        self.project.mkdir()
        fill(self.project)

    def judge(self, what: str, *command: str, bad: bool = False) -> None:
        before = self._outside()
        done = forked.run(self.project, *command, seconds=120)
        self.row.tried += 1
        self.row.judge(done, what)
        if done.code == 2 and not (done.refused and len(done.said.splitlines()[-1]) <= 1020):
            self.row.tracebacks.append(f"{what}: not one line: {done.said[-300:]}")
        if bad and done.code == 0:
            self.row.silent.append(f"{what}: accepted")
        self.row.executed += [f"{what}: {file}" for file in self.root.rglob("PWNED*")]
        if self._outside() != before:
            self.row.outside.append(what)

    def _outside(self) -> list[tuple[str, int, int]]:
        others = (path for path in self.root.rglob("*") if not path.is_relative_to(self.project))
        return [(str(path), path.lstat().st_mtime_ns, path.lstat().st_size) for path in others if path.is_file()]


def slices(root: Path, count: int, seed: int) -> Row:
    """`check` on slices with another value somewhere, a key too many, or text that is no YAML."""
    row = Row("bad slices")
    bench = Bench(root, row)

    bench.lay(_smoke)
    files = sorted(file.relative_to(bench.project) for file in bench.project.rglob("*.yaml") if file.name != "dvc.yaml")
    kinds = st.sampled_from(["value", "value", "value", "value", "key", "text", "file"])

    def case(drawn: tuple[Path, str, float, Any, str, str]) -> None:
        name, kind, where, value, text, special = drawn
        bench.lay(_smoke)
        file = bench.project / name
        if kind == "text":
            file.write_text(text)
        elif kind == "file":
            file.unlink()
            SPECIAL[special](file)
        else:
            content = yaml.safe_load(file.read_text()) or {}
            places = list(_places(content))
            place = places[int(where * len(places))]
            if kind == "key" and isinstance(content, dict):
                content["stpes"] = value
            else:
                content = _changed(content, place, value)
            file.write_text(yaml.dump(content))
        bench.judge(
            f"{name}: {kind} {special if kind == 'file' else repr((where, value, text))[:200]}",
            "check",
            "--study",
            "smoke",
        )

    places = st.floats(0, 1, exclude_max=True)
    drawn = st.tuples(
        st.sampled_from(files), kinds, places, VALUES, st.sampled_from(TEXTS), st.sampled_from(sorted(SPECIAL))
    )
    _each(count, seed, drawn, case)
    for name in NAMES[2:]:
        if "\ud800" not in name:
            bench.lay(_smoke)
            bench.judge(f"study {name!r}", "check", f"--study={name}", bad=True)
    return row


def raw_coco(folder: Path) -> None:
    """A data set in COCO's form, and the study that reads it."""
    _smoke(folder)
    splits = {split: {"annotations": f"{split}.json", "images": split} for split in ("train", "val", "test")}
    for split in splits:
        (folder / "raw/x" / split).mkdir(parents=True)
        for number in range(2):
            (folder / f"raw/x/{split}/{number}.png").write_bytes(_picture(len(split) + number, "PNG"))
        content = {
            "images": [{"id": n, "file_name": f"{n}.png", "width": 32, "height": 32} for n in range(2)],
            "annotations": [
                {"id": n, "image_id": n, "category_id": 1, "bbox": [2.0, 3.0, 9.0, 9.0], "area": 81.0, "iscrowd": 0}
                for n in range(2)
            ],
            "categories": [{"id": 1, "name": "a"}],
        }
        (folder / f"raw/x/{split}.json").write_text(json.dumps(content))
    _say(folder, {"kind": "coco", "folder": "raw/x", "splits": splits})


def raw_voc(folder: Path) -> None:
    """The same in VOC's form."""
    _smoke(folder)
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / "raw/x" / name).mkdir(parents=True)
    box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>12</xmax><ymax>12</ymax></bndbox>"
    size = "<size><width>32</width><height>32</height></size>"
    for number, split in enumerate(("train", "val", "test")):
        (folder / f"raw/x/ImageSets/Main/{split}.txt").write_text(f"{number}\n")
        (folder / f"raw/x/JPEGImages/{number}.jpg").write_bytes(_picture(number, "JPEG"))
        (folder / f"raw/x/Annotations/{number}.xml").write_text(
            f"<annotation>{size}<object><name>a</name>{box}</object></annotation>"
        )
    _say(folder, {"kind": "voc", "folder": "raw/x", "splits": {split: [split] for split in ("train", "val", "test")}})


def raw_yolo(folder: Path) -> None:
    """The same in YOLO's form, one split by a list."""
    _smoke(folder)
    for number, split in enumerate(("train", "val", "test")):
        for kind in ("images", "labels"):
            (folder / "raw/x" / kind / split).mkdir(parents=True)
        (folder / f"raw/x/images/{split}/0.png").write_bytes(_picture(number, "PNG"))
        (folder / f"raw/x/labels/{split}/0.txt").write_text("0 0.5 0.5 0.25 0.25\n0 0.1 0.1 0.6 0.1 0.6 0.8\n")
    (folder / "raw/x/val.txt").write_text("images/val/0.png\n")
    splits = {"train": ["images/train"], "val": ["val.txt"], "test": ["images/test"]}
    _say(folder, {"kind": "yolo", "folder": "raw/x", "names": ["a"], "splits": splits})


def raw_csv(folder: Path) -> None:
    """The same as tables, one of them without a header."""
    _smoke(folder)
    (folder / "raw/x").mkdir(parents=True)
    for number, split in enumerate(("train", "val", "test")):
        (folder / f"raw/x/{number}.png").write_bytes(_picture(number, "PNG"))
        rows = [f"{number}.png,2,3,12,14,a"]
        header = ["filename,xmin,ymin,xmax,ymax,class"] if split == "train" else []
        (folder / f"raw/x/{split}.csv").write_text("\n".join(header + rows) + "\n")
    splits = {split: {"table": f"{split}.csv"} for split in ("train", "val", "test")}
    _say(folder, {"kind": "csv", "folder": "raw/x", "splits": splits})


READERS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "coco": (raw_coco, ["raw/x/train.json", "raw/x/val.json", "raw/x/train/0.png"]),
    "voc": (raw_voc, ["raw/x/ImageSets/Main/train.txt", "raw/x/Annotations/0.xml", "raw/x/JPEGImages/0.jpg"]),
    "yolo": (raw_yolo, ["raw/x/val.txt", "raw/x/labels/train/0.txt", "raw/x/images/train/0.png"]),
    "csv": (raw_csv, ["raw/x/train.csv", "raw/x/val.csv", "raw/x/0.png"]),
}
FREE = {("raw/x/labels/train/0.txt", "empty")}
"""An image without objects has an empty file of labels."""


def raw_files(root: Path, count: int, seed: int) -> Row:
    """`data` on raw files with a byte changed, cut or added, and on what is no file at all."""
    row = Row("bad raw data")
    bench = Bench(root, row)
    cases = [(kind, file) for kind, (_, files) in READERS.items() for file in files]
    change = st.one_of(BYTES, BYTES, st.tuples(st.sampled_from(sorted(SPECIAL)), st.just(0.0), st.just(0)))

    def case(drawn: tuple[tuple[str, str], tuple[str, float, int]]) -> None:
        (kind, name), changed = drawn
        bench.lay(READERS[kind][0])
        _spoil(bench.project / name, *changed)
        bad = changed[0] in SPECIAL and (name, changed[0]) not in FREE
        bench.judge(f"{kind} {name} {changed}", "data", "--study", "smoke", bad=bad)

    _each(count, seed, st.tuples(st.sampled_from(cases), change), case)
    return row


def annotations(root: Path, count: int, seed: int) -> Row:
    """`data` on COCO files with another value somewhere."""
    row = Row("bad annotations")
    bench = Bench(root, row)

    def case(drawn: tuple[float, Any]) -> None:
        where, value = drawn
        bench.lay(raw_coco)
        file = bench.project / "raw/x/train.json"
        content = json.loads(file.read_text())
        places = list(_places(content))
        file.write_text(json.dumps(_changed(content, places[int(where * len(places))], value)))
        bench.judge(f"train.json {places[int(where * len(places))]} {value!r:.80}", "data", "--study", "smoke")

    _each(count, seed, st.tuples(st.floats(0, 1, exclude_max=True), VALUES), case)
    return row


def archives(root: Path, count: int, seed: int) -> Row:
    """`data` on archives with a byte changed, cut or added, and on hostile members."""
    row = Row("bad archives")
    bench = Bench(root, row)
    # Archives are unpacked two folders below the project; what lies beside it counts as touched.
    places = ["../../../precious/evil", str(root.resolve() / "outer/precious/evil"), "x" * 5000]
    hostile = [*map(_tar_of, places), *map(_zip_of, places), _encrypted(), b"\xfd7zXZ\x00rubbish", b""]

    def lay(content: bytes, name: str) -> None:
        bench.lay(raw_voc)
        shutil.rmtree(bench.project / "raw")
        (bench.project / "given/x").mkdir(parents=True)
        (bench.project / "given/x" / name).write_bytes(content)
        source = {
            "name": "x",
            "archives": [{"url": f"http://localhost:9/{name}", "mib": 1}],
            "mib": 1,
            "content": {"folders": ["Annotations"], "sha256": "0" * 64},
        }
        values = yaml.safe_load((bench.project / "params/smoke/data.yaml").read_text())
        _say(bench.project, {**values, "folder": ".", "source": source})

    def judge(what: str) -> None:
        os.environ["DETDISTILL_RAW"] = str(bench.project / "given")
        try:
            bench.judge(what, "data", "--study", "smoke", bad=True)
        finally:
            del os.environ["DETDISTILL_RAW"]

    for number, content in enumerate(hostile):
        lay(content, "x.tar.xz" if content[:1] == b"\xfd" else "x.zip")
        judge(f"hostile archive {number}")
    bench.lay(raw_voc)
    whole = {"x.tar.gz": _tar(bench.project / "raw/x"), "x.zip": _zip(bench.project / "raw/x")}

    def case(drawn: tuple[str, tuple[str, float, int]]) -> None:
        name, changed = drawn
        lay(_spoilt(whole[name], *changed), name)
        judge(f"{name} {changed}")

    _each(count, seed, st.tuples(st.sampled_from(sorted(whole)), BYTES), case)
    return row


def results(finished: Path, root: Path, count: int, seed: int) -> Row:
    """Steps that read the files of earlier ones, each spoilt or replaced by what is no file."""
    row = Row("bad results")
    bench = Bench(root, row)
    pair = yaml.safe_load((finished / "params/smoke/study.yaml").read_text())["pairs"][0]["pair"]
    readers = {
        "data/smoke/manifest.json": ["evaluate", pair, "plain", "0"],
        "data/smoke/test.json": ["evaluate", pair, "plain", "0"],
        f"runs/smoke/{pair}/plain/0/model.safetensors": ["evaluate", pair, "plain", "0"],
        f"runs/smoke/{pair}/plain/0/timing.json": ["evaluate", pair, "plain", "0"],
        f"runs/smoke/{pair}/teacher/0/model.safetensors": ["distill", pair, "pkd", "0"],
        f"runs/smoke/{pair}/pkd/tuning/tuning.json": ["distill", pair, "pkd", "0"],
        f"runs/smoke/{pair}/pkd/0/metrics.json": ["summarize"],
        f"runs/smoke/{pair}/pkd/0/curve.csv": ["report"],
        f"runs/smoke/{pair}/pkd/0/learning.json": ["report"],
        f"runs/smoke/{pair}/pkd/0/predictions.safetensors": ["summarize"],
        f"runs/smoke/{pair}/latency.json": ["summarize"],
        "reports/smoke/summary.json": ["report"],
    }
    change = st.one_of(BYTES, st.tuples(st.sampled_from(sorted(SPECIAL)), st.just(0.0), st.just(0)))

    def case(drawn: tuple[str, tuple[str, float, int]]) -> None:
        name, changed = drawn
        bench.lay(lambda folder: None)
        study.copy(finished, bench.project)
        _spoil(bench.project / name, *changed)
        # A result that is no file counts as missing, and the statistics say so; `flips` judges what is printed.
        read = readers[name][0] not in ("summarize", "report")
        bench.judge(f"{name} {changed}", *readers[name], "--study", "smoke", bad=read)

    _each(count, seed, st.tuples(st.sampled_from(sorted(readers)), change), case)
    return row


def _spoil(file: Path, how: str, where: float, value: int) -> None:
    if how in SPECIAL:
        file.unlink()
        SPECIAL[how](file)
    else:
        file.write_bytes(_spoilt(file.read_bytes(), how, where, value))


def _spoilt(content: bytes, how: str, where: float, value: int) -> bytes:
    place = int(where * len(content))
    if how == "cut":
        return content[:place]
    middle = bytes([content[place] ^ value]) if how == "flip" else bytes([value, content[place]])
    return content[:place] + middle + content[place + 1 :]


def _smoke(folder: Path) -> None:
    """The parameters of the small study."""
    shutil.copytree(project.PACKAGE.parents[1] / "params/smoke", folder / "params/smoke")


def _say(folder: Path, values: dict[str, Any]) -> None:
    (folder / "params/smoke/data.yaml").write_text(yaml.safe_dump(values))


def _picture(seed: int, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8)).save(stream, kind)
    return stream.getvalue()


def _tar(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(folder, ".")
    return gzip.compress(stream.getvalue(), mtime=0)


def _zip(folder: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(folder))
    return stream.getvalue()


def _tar_of(name: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    return stream.getvalue()


def _zip_of(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, b"evil")
    return stream.getvalue()


def _encrypted() -> bytes:
    """A zip whose member says that it is encrypted: bit 0 of its flags, in both headers."""
    content = bytearray(_zip_of("a.txt"))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)
