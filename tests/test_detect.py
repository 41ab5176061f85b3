"""`detdistill detect`: what a model that left the house finds, drawn and as COCO JSON; bad files stop no other."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import exported
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from detdistill.cli import app
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.detect import THRESHOLD, detect
from detdistill.detect.drawing import draw
from detdistill.detect.sources import find
from detdistill.detect.video import Video, Writer
from detdistill.export import export

IMAGES = 5


@pytest.fixture
def model(tmp_path, monkeypatch):
    """An exported model, and the images of validation in `pictures`, one of them larger."""
    exported.project(tmp_path, monkeypatch, "torchvision", "faster_rcnn", images=IMAGES)
    export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, Path("model"))
    Path("pictures/deep").mkdir(parents=True)
    for index, record in enumerate(exported.split().records):
        file = Path("pictures", "deep" if index % 2 else "", record.file_name)
        shutil.copy(paths.data(exported.STUDY, "images") / record.file_name, file)
    Image.new("RGB", (90, 70), "navy").save("pictures/other.jpg")
    return Path("model")


def test_every_image_is_drawn_and_told_as_the_detector_finds_it(model):
    from detdistill.export.folder import load

    detector, card = load(model)
    expected = dict(zip([each.file_name for each in exported.split().records], exported.ours(detector), strict=True))
    found = detect(model, [Path("pictures")], Path("out"), threshold=0.09, batch=2)
    assert not found.left_out
    written = {file.relative_to("out").as_posix() for file in Path("out").rglob("*.png")}
    drawn = {Path(each["file_name"]).relative_to("pictures").with_suffix(".png").as_posix() for each in found.images}
    assert written == drawn
    assert len(written) == IMAGES + 1
    coco = COCO("out/detections.json")
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == card.classes
    for image in coco.loadImgs(coco.getImgIds()):
        own = expected.get(Path(image["file_name"]).name)
        if own is None:
            assert (image["height"], image["width"]) == (70, 90)
            continue
        kept = own["scores"] >= 0.09
        rows = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert len(rows) == int(kept.sum()) > 0
        corners = torch.tensor([row["bbox"] for row in rows])
        corners[:, 2:] += corners[:, :2]
        assert torch.allclose(corners, own["boxes"][kept], atol=1e-3)
        assert torch.allclose(torch.tensor([row["score"] for row in rows]), own["scores"][kept], atol=1e-6)
        assert [row["category_id"] - 1 for row in rows] == own["labels"][kept].tolist()


def test_the_threshold_is_the_models_own_or_one_half(model):
    card = json.loads((model / "detdistill.json").read_text())
    assert card["threshold"] is None  # it has not been evaluated
    assert THRESHOLD == 0.5
    assert not detect(model, [Path("pictures")], Path("half")).annotations  # an untrained model is sure of nothing
    export_evaluated()
    own = json.loads(Path("evaluated/detdistill.json").read_text())["threshold"]
    found = detect(Path("evaluated"), [Path("pictures")], Path("own"))
    assert found.annotations
    lowest = detect(Path("evaluated"), [Path("pictures")], Path("all"), threshold=0.0)
    assert len(found.annotations) == sum(each["score"] >= own for each in lowest.annotations)


def export_evaluated() -> None:
    from detdistill.evaluate.step import evaluate

    evaluate(exported.STUDY, exported.PAIR, paths.TEACHER, 0)
    export(exported.STUDY, exported.PAIR, paths.TEACHER, 0, Path("evaluated"))


def test_what_is_no_image_is_named_and_all_others_are_done(model):
    Path("pictures/broken.png").write_text("no image")
    whole = Path("pictures/other.jpg").read_bytes()
    Path("pictures/cut.jpg").write_bytes(whole[: len(whole) // 2])
    done = CliRunner().invoke(app, ["detect", "model", "pictures", "--to", "out"])
    assert done.exit_code == 1
    lines = [line for line in done.output.splitlines() if line.startswith("left out: ")]
    assert [line.split(": ")[1] for line in lines] == ["pictures/broken.png", "pictures/cut.jpg"]
    assert f"{IMAGES + 1} images, " in done.output
    assert "images a second" in done.output
    assert len(list(Path("out").rglob("*.png"))) == IMAGES + 1


def test_names_that_do_not_exist_are_all_told_before_any_work(model):
    Path("empty").mkdir()
    with pytest.raises(UserError) as error:
        detect(model, [Path("nope.png"), Path("pictures"), Path("empty")], Path("out"))
    assert str(error.value) == "nope.png: no such file or folder; empty: no image and no video in this folder"
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            (Path("pictures"), [Path("pictures")], Path("out")),
            "pictures: not an exported model: no detdistill.json in it",
        ),
        ((Path("none"), [Path("pictures")], Path("out")), "none: no such folder; `detdistill export` writes one"),
        ((Path("model"), [Path("pictures")], Path("pictures")), "pictures: not empty; nothing is overwritten"),
        ((Path("model"), [Path("text.txt")], Path("out")), "text.txt: a broken or truncated image"),
        ((Path("model"), [Path("pictures"), Path("copy/other.jpg")], Path("out")), "copy/other.jpg: would be drawn to"),
    ],
)
def test_one_line_each(model, arguments, said):
    Path("text.txt").write_text("no image")
    Path("copy").mkdir()
    Image.new("RGB", (8, 8)).save("copy/other.jpg")
    with pytest.raises(UserError) as error:
        detect(*arguments)
    assert str(error.value).startswith(said)


class TestSources:
    def drawn(self, *given: str) -> dict[str, str]:
        return {source.file.as_posix(): source.drawn.as_posix() for source in find([Path(each) for each in given])}

    @pytest.fixture(autouse=True)
    def here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def put(self, *names: str) -> None:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()

    def test_names_stay_apart(self):
        self.put("in/a.png", "in/a.mp4", "in/x.gif", "in/x.bmp", "in/x.gif.png", "in/b.MOV", "in/b.mkv", "in/y.jpg")
        assert self.drawn("in") == {
            "in/a.mp4": "a.mp4",
            "in/a.png": "a.png",
            "in/b.MOV": "b.MOV.mp4",
            "in/b.mkv": "b.mkv.mp4",
            "in/x.bmp": "x.bmp.png",
            "in/x.gif": "x.gif.png",
            "in/x.gif.png": "x.gif.png.png",
            "in/y.jpg": "y.png",
        }

    def test_of_two_folders_too(self):
        self.put("one/x.jpg", "two/x.png", "two/y.png")
        assert self.drawn("one", "two", "two/y.png") == {
            "one/x.jpg": "x.jpg.png",
            "two/x.png": "x.png.png",
            "two/y.png": "y.png",
        }

    def test_linked_folders_are_searched_once_round(self):
        self.put("in/a.png", "other/deep/b.png")
        Path("in/link").symlink_to(Path("other").resolve())
        Path("other/deep/round").symlink_to(Path("in").resolve())
        assert self.drawn("in") == {"in/a.png": "a.png", "in/link/deep/b.png": "link/deep/b.png"}

    def test_hidden_files_are_passed_over_unless_named(self):
        self.put("in/x.jpg", "in/._x.jpg", "in/.cache/y.jpg", "in/__MACOSX/z.jpg")
        assert self.drawn("in") == {"in/x.jpg": "x.png"}
        assert self.drawn("in/._x.jpg") == {"in/._x.jpg": "._x.png"}


def test_a_box_is_drawn_where_it_is_and_small_images_grow():
    image = torch.zeros(3, 50, 60, dtype=torch.uint8)
    one = {
        "boxes": torch.tensor([[20.0, 30.0, 40.0, 45.0]]),
        "scores": torch.tensor([0.7]),
        "labels": torch.tensor([1]),
    }
    picture = draw(image, one, ["cat", "dog"])
    assert picture.shape == (3, 400, 480)
    lit = picture.any(0).nonzero()
    assert lit.amax(0).tolist() == [8 * 45, 8 * 40]  # the lower right corner; the class stands above
    assert not picture[:, 8 * 31 : 8 * 44, 8 * 21 : 8 * 39].any()
    nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
    assert not draw(image, nothing, ["cat"]).any()


class TestVideo:
    def test_without_its_package(self, model, monkeypatch):
        Path("clip.mp4").write_bytes(b"no video")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(UserError, match=r"clip\.mp4: PyAV is needed for videos; pip install 'detdistill\[video\]'"):
            detect(model, [Path("clip.mp4")], Path("out"))

    def test_every_frame_is_detected_and_drawn(self, model):
        av = pytest.importorskip("av", reason="PyAV is not installed")
        frames = [exported.split().image(index % IMAGES).permute(1, 2, 0).numpy() for index in range(7)]
        with av.open("clip.mp4", "w") as container:
            stream = container.add_stream("mpeg4", rate=5)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for pixels in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
            container.mux(stream.encode())
        Path("broken.mp4").write_bytes(Path("clip.mp4").read_bytes()[:200])
        found = detect(model, [Path("clip.mp4"), Path("broken.mp4")], Path("out"), threshold=0.0, batch=3)
        assert [each["frame"] for each in found.images] == list(range(7))
        assert found.images[5]["seconds"] == 1.0
        assert len({each["image_id"] for each in found.annotations}) == 7
        with av.open("out/clip.mp4") as container:
            assert sum(1 for _ in container.decode(video=0)) == 7
            assert container.streams.video[0].average_rate == 5
        [fault] = found.left_out
        assert fault.startswith("broken.mp4: a video that cannot be read: ")

    @pytest.mark.parametrize(
        ("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1), ((1, 0, 0, 1), 0)]
    )
    def test_frames_are_turned_as_the_file_is_shown(self, model, matrix, turns):
        filmed = exported.split().image(0)[:, :48]
        clip("filmed.mp4", [filmed])
        content = bytearray(Path("filmed.mp4").read_bytes())
        place = content.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), content.index(b"tkhd"))
        a, b, c, d = (each << 16 for each in matrix)
        content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        Path("turned.mp4").write_bytes(content)
        [(_, as_filmed)], [(_, upright)] = Video(Path("filmed.mp4")), Video(Path("turned.mp4"))
        assert torch.equal(upright, as_filmed.rot90(turns, (1, 2)))
        [image] = detect(model, [Path("turned.mp4")], Path("out")).images
        assert (image["height"], image["width"]) == tuple(upright.shape[1:])

    def test_uneven_times_are_told_and_kept(self, model):
        av = pytest.importorskip("av", reason="PyAV is not installed")
        times = [0.0, 0.1, 0.15, 0.5, 1.25, 1.3]
        clip("clip.mp4", [exported.split().image(0)] * len(times), [2.0 + time for time in times])
        found = detect(model, [Path("clip.mp4")], Path("out"))
        assert [each["seconds"] for each in found.images] == pytest.approx(times)
        with av.open("out/clip.mp4") as container:
            assert [frame.time for frame in container.decode(video=0)] == pytest.approx(times, abs=1e-4)
            stream = container.streams.video[0]
            assert float(stream.duration * stream.time_base) > times[-1]

    def test_a_frame_that_is_not_later_is_written(self, tmp_path):
        av = pytest.importorskip("av", reason="PyAV is not installed")
        with Writer(tmp_path / "clip.mp4", Fraction(5)) as writer:
            for seconds in (0.0, 0.2, 0.2, 0.1, 0.4):
                writer.write(torch.zeros(3, 16, 16, dtype=torch.uint8), seconds)
        with av.open(str(tmp_path / "clip.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == 5


def clip(file: str, frames: Sequence[torch.Tensor], times: Sequence[float] = (0.0,)) -> None:
    """A video of these frames, uint8 (3, H, W), at these seconds."""
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(file, "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[1:], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for frame, time in zip(frames, times, strict=True):
            picture = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            picture.pts, picture.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
