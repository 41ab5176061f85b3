"""The maps of features that a run leaves of one image: of every family, by hand, and without the padding."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_evaluate import BOX, FAR, split_of
from tiny import SIZES, detector

from detdistill.core.errors import UserError
from detdistill.evaluate import maps


@pytest.mark.parametrize(("engine", "family"), sorted(SIZES))
def test_a_map_is_the_mean_magnitude_over_channels(engine, family):
    one = detector(family, engine=engine).train()
    image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    found = maps.strengths(one, image)
    assert one.training
    one.eval()
    taps = one.observe([image], frozenset({"backbone", "neck"}))
    assert set(found) == {f"{tap}.{stride}" for tap in maps.TAPS for stride in getattr(taps, tap)}
    for stride, level in taps.neck.items():
        expected = level.detach()[0].abs().sum(0) / level.shape[1]
        torch.testing.assert_close(found[f"neck.{stride}"], expected)
        assert found[f"neck.{stride}"].dtype == torch.float32
        assert not found[f"neck.{stride}"].requires_grad


def test_cells_of_nothing_but_padding_are_left_out():
    image = torch.rand(3, 40, 70, generator=torch.Generator().manual_seed(0))
    found = maps.strengths(detector("faster_rcnn"), image)
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        name: (40 // stride, -(-70 // stride)) for stride in (4, 8) for name in (f"backbone.{stride}", f"neck.{stride}")
    }


def test_the_image_is_the_first_of_those_with_most_objects():
    assert maps.shown(split_of([], [(BOX, 0)], [(BOX, 0), (FAR, 1)], [(FAR, 0), (BOX, 0)]).records) == 2
    assert maps.shown(split_of([], []).records) == 0


def test_what_is_saved_is_loaded(tmp_path):
    file = tmp_path / "maps.safetensors"
    kept = {"neck.4": torch.rand(3, 5), "backbone.8": torch.rand(2, 3)}
    maps.save(file, kept)
    first = file.read_bytes()
    loaded = maps.load(file)
    assert {name: each.tolist() for name, each in loaded.items()} == {n: each.tolist() for n, each in kept.items()}
    maps.save(file, dict(reversed(kept.items())))
    assert file.read_bytes() == first


@pytest.mark.parametrize("wrong", ["cut", "absent", "flat", "other"])
def test_another_file_is_no_map(tmp_path: Path, wrong: str):
    file = tmp_path / "maps.safetensors"
    if wrong == "cut":
        maps.save(file, {"neck.4": torch.rand(3, 5)})
        file.write_bytes(file.read_bytes()[:-8])
    elif wrong != "absent":
        save_file({"neck.4": torch.rand(3)} if wrong == "flat" else {"head.4": torch.rand(2, 2)}, file)
    with pytest.raises(UserError, match=r"maps\.safetensors: not the maps of a run"):
        maps.load(file)
