"""torchvision's own backbones: the same detectors, checkpoints that go both ways, and weights that are told apart."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import yaml
from safetensors.torch import save_file
from server import serving
from torch import Tensor, nn
from torchvision.models import convnext_tiny, mobilenet_v3_large, resnet18
from torchvision.models.detection import fasterrcnn_resnet50_fpn, retinanet_resnet50_fpn
from torchvision.ops.misc import FrozenBatchNorm2d

from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.params import Side, parse
from detdistill.detectors import build
from detdistill.detectors.base import Detector
from detdistill.detectors.resnet_fpn import KeepSize

IMAGES = [torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(2))]


def detector(family: str = "faster_rcnn", backbone: str = "resnet18", num_classes: int = 3, **given: Any) -> Detector:
    torch.manual_seed(8)
    return build("torchvision", {"family": family, "backbone": backbone, **given}, num_classes, "student.yaml")


def alive(model: nn.Module) -> nn.Module:
    """The model with statistics and scores that are not the initial ones, in eval mode."""
    generator = torch.Generator().manual_seed(6)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    for name, parameter in model.named_parameters():
        if "cls_logits" in name or "cls_score" in name:
            nn.init.normal_(parameter, std=0.05, generator=generator)
    return model.eval()


@pytest.fixture(autouse=True)
def _raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETDISTILL_RAW", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def saved(folder: Path, state: dict[str, Any], name: str = "weights.pth") -> dict[str, Any]:
    """The file as a slice names it."""
    if name.endswith(".safetensors"):
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, folder / name)
    else:
        torch.save(state, folder / name)
    return {"file": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}


class TestPublished:
    """ResNet-50 is the backbone of torchvision's own detectors."""

    @pytest.fixture(params=["faster_rcnn", "retinanet"])
    def family(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def native(self, family: str) -> Any:
        make = {"faster_rcnn": fasterrcnn_resnet50_fpn, "retinanet": retinanet_resnet50_fpn}[family]
        torch.manual_seed(5)
        # Its sizes keep the image as it is, as ours does: 96 is the shortest side.
        return alive(make(weights=None, weights_backbone=None, num_classes=4, min_size=96, max_size=128))

    def settings(self, family: str) -> dict[str, Any]:
        return {"backbone": "resnet50", "num_classes": 3 if family == "faster_rcnn" else 4} | (
            {} if family == "faster_rcnn" else {"detections": 300}
        )

    def test_its_checkpoint_gives_the_same_detections_to_the_bit(
        self, family: str, native: Any, tmp_path: Path
    ) -> None:
        weights = saved(tmp_path, native.state_dict())
        ours = detector(family, weights=weights, norm="BN", freeze=0, **self.settings(family))
        ours.initialize("student.yaml")
        with torch.no_grad():
            (found,), (expected,) = ours.eval().predict(IMAGES), native(IMAGES)
        assert len(expected["scores"]) > 5
        offset = 1 if family == "faster_rcnn" else 0
        assert torch.equal(found["boxes"], expected["boxes"])
        assert torch.equal(found["scores"], expected["scores"])
        assert torch.equal(found["labels"] + offset, expected["labels"])

    def test_frozen_normalisation_has_the_same_features(self, family: str, native: Any, tmp_path: Path) -> None:
        weights = saved(tmp_path, native.state_dict(), "weights.safetensors")
        ours = detector(family, weights=weights, **self.settings(family))
        ours.initialize("student.yaml")
        with torch.no_grad():
            taps = ours.train().observe(IMAGES, frozenset({"backbone", "neck"}))
            body = native.backbone.body(native.transform(IMAGES)[0].tensors)
            pyramid = native.backbone.fpn(body)
        for tap, expected in ((taps.backbone, body), (taps.neck, pyramid)):
            for level, other in zip(tap.values(), expected.values(), strict=True):
                assert level.shape == other.shape
                assert (level - other).norm() < 1e-5 * other.norm()
        frozen = [name for name, parameter in ours.model.named_parameters() if not parameter.requires_grad]
        assert {name.split(".")[2] for name in frozen} == {"conv1", "layer1"}

    def test_other_classes_begin_anew_and_all_else_is_taken(self, family: str, native: Any, tmp_path: Path) -> None:
        settings = self.settings(family) | {"num_classes": 7}
        ours = detector(family, weights=saved(tmp_path, native.state_dict()), **settings)
        ours.initialize("student.yaml")
        own, other = ours.model.state_dict(), native.state_dict()
        new = {name for name, tensor in own.items() if tensor.shape != other[name].shape}
        assert new
        assert all(name.startswith(ours.class_layers) for name in new)  # type: ignore[arg-type]
        assert all(torch.equal(tensor, other[name]) for name, tensor in own.items() if name not in new)

    def test_its_first_files_had_other_names(self, family: str, native: Any, tmp_path: Path) -> None:
        """torchvision renames them itself, as it loads them."""
        old = {}
        for name, tensor in native.state_dict().items():
            name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
            for block in ("inner", "layer"):
                for level in range(4):
                    name = name.replace(f"{block}_blocks.{level}.0.", f"{block}_blocks.{level}.")
            old[name] = tensor
        ours = detector(family, weights=saved(tmp_path, old), **self.settings(family))
        ours.initialize("student.yaml")
        name = "backbone.fpn.inner_blocks.1.0.weight"
        assert torch.equal(ours.model.state_dict()[name], native.state_dict()[name])

    def test_our_checkpoint_loads_into_torchvisions_model(self, family: str, native: Any) -> None:
        native.load_state_dict(detector(family, **self.settings(family)).model.state_dict(), strict=True)

    def test_coco_is_torchvisions_file_and_its_normalisation(self, family: str) -> None:
        ours = detector(family, "resnet50", weights="coco")
        named: Any = ours._weights
        names = {
            "faster_rcnn": "fasterrcnn_resnet50_fpn_coco-258fb6c6",
            "retinanet": "retinanet_resnet50_fpn_coco-eeacb38b",
        }
        assert named.file == f"{names[family]}.pth"
        assert named.file.endswith(f"{named.sha256}.pth")
        norms = [module for module in ours.modules() if isinstance(module, FrozenBatchNorm2d)]
        assert {module.eps for module in norms} == {0.0}


CLASSIFIERS = {"resnet18": resnet18, "mobilenet_v3_large": mobilenet_v3_large, "convnext_tiny": convnext_tiny}


@pytest.mark.parametrize("backbone", list(CLASSIFIERS))
def test_a_classifier_has_the_same_features_here(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    classifier: Any = alive(CLASSIFIERS[backbone]())
    ours = detector("retinanet", backbone, weights=saved(tmp_path, classifier.state_dict()), neck_channels=8)
    before = {name: tensor.clone() for name, tensor in ours.model.state_dict().items()}
    ours.initialize("student.yaml")
    after = ours.model.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("backbone.body.") for name in changed)
    x: Tensor = KeepSize(0, 0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(IMAGES)[0].tensors
    with torch.no_grad():
        if backbone == "resnet18":
            x = classifier.maxpool(classifier.relu(classifier.bn1(classifier.conv1(x))))
            x = classifier.layer4(classifier.layer3(classifier.layer2(classifier.layer1(x))))
        else:
            x = classifier.features(x)
        taps = ours.eval().observe(IMAGES, frozenset({"backbone"}))
    torch.testing.assert_close(taps.backbone["32"], x, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("backbone", "stem"),
    [("resnet18", ["conv1"]), ("mobilenet_v3_large", ["0", "1"]), ("convnext_tiny", ["0"])],
)
def test_frozen_stages_stay_as_they_are(backbone: str, stem: list[str]) -> None:
    for freeze, frozen in ((1, set(stem)), (0, set())):
        ours = detector("retinanet", backbone, weights="imagenet", freeze=freeze)
        names = {n.split(".")[2] for n, parameter in ours.model.named_parameters() if not parameter.requires_grad}
        assert names == frozen
    ours = detector("retinanet", backbone, weights="imagenet", freeze=5)
    trained = [name for name, parameter in ours.model.named_parameters() if parameter.requires_grad]
    assert not [name for name in trained if name.startswith("backbone.body.")]
    assert [name for name in trained if name.startswith("backbone.fpn.")]


class TestFaults:
    def test_weights_of_another_architecture_name_what_does_not_fit(self, tmp_path: Path) -> None:
        weights = saved(tmp_path, resnet18().state_dict())
        told = r"weights\.pth: weights of another architecture: "
        for other, fault in (
            ("resnet50", r"size mismatch for backbone\.body\.layer1\.0\.conv1\.weight: .*\[64, 64, 3, 3\].*1, 1\]"),
            ("resnet34", r"no tensor backbone\.body\.layer1\.2\.conv1\.weight, which the detector has"),
            ("convnext_tiny", r"no tensor backbone\.body\.0\.0\.weight"),
        ):
            with pytest.raises(UserError, match=told + fault):
                detector("retinanet", other, weights=weights).initialize("student.yaml")

    def test_a_detector_of_another_family_or_neck_is_refused(self, tmp_path: Path) -> None:
        weights = saved(tmp_path, detector("retinanet").model.state_dict())
        with pytest.raises(UserError, match=r"another architecture: size mismatch for backbone\.fpn\.inner_blocks\.0"):
            detector("faster_rcnn", weights=weights).initialize("student.yaml")
        with pytest.raises(UserError, match=r"another architecture: size mismatch for backbone\.fpn"):
            detector("retinanet", weights=weights, neck_channels=64).initialize("student.yaml")

    def test_files_that_are_missing_altered_or_not_of_tensors(self, tmp_path: Path) -> None:
        absent = {"file": "none.pth", "sha256": "0" * 8}
        with pytest.raises(UserError, match=r"student\.yaml: detector\.weights\.file: none\.pth: not found in .* or"):
            detector(weights=absent).initialize("student.yaml")
        altered = saved(tmp_path, {}) | {"sha256": "0" * 8}
        with pytest.raises(UserError, match=r"weights\.pth: SHA-256 .*, expected 00000000; remove the file"):
            detector(weights=altered).initialize("student.yaml")
        for content, message in (
            ({"fc.weight": Trap(str(tmp_path / "ran"))}, "would run code; save the model's state_dict alone"),
            ({"fc.weight": 3}, "holds no state_dict"),
        ):
            with pytest.raises(UserError, match=message):
                detector(weights=saved(tmp_path, content)).initialize("student.yaml")
        assert not (tmp_path / "ran").exists()
        for name in ("broken.pth", "broken.safetensors"):
            (tmp_path / name).write_bytes(b"PK\x03\x04 nothing")
            broken = {"file": name, "sha256": hashlib.sha256(b"PK\x03\x04 nothing").hexdigest()}
            with pytest.raises(UserError, match=rf"{name} is no file of weights that can be read|{name} holds more"):
                detector(weights=broken).initialize("student.yaml")

    def test_a_file_that_is_nowhere_is_downloaded_and_verified(self, tmp_path: Path) -> None:
        (tmp_path / "served").mkdir()
        state = resnet18().state_dict()
        named = saved(tmp_path / "served", state)
        with serving(tmp_path / "served") as address:
            weights = named | {"url": f"{address}/weights.pth", "mib": 50}
            ours = detector(weights=weights)
            ours.initialize("student.yaml")
        assert torch.equal(ours.model.state_dict()["backbone.body.conv1.weight"], state["conv1.weight"])
        assert paths.RAW.joinpath("weights.pth").is_file()

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"backbone": "resnet51"}, r"backbone: no such backbone; did you mean 'resnet50'\?, found 'resnet51'"),
            ({"widths": [8]}, r"unknown key 'widths'"),
            ({"weights": "imagnet"}, r"weights.*'imagenet' or 'coco', found 'imagnet'"),
            ({"weights": "coco"}, "weights: torchvision's 'coco' is of faster_rcnn and retinanet on resnet50 alone"),
            ({"weights": {"file": "a.pth"}}, r"'weights\.sha256' is missing"),
            ({"freeze": 1}, "without `weights`, norm must be BN and freeze 0"),
            ({"weights": "imagenet", "norm": "BN"}, "norm: BN of frozen stages would still follow the images"),
            ({"freeze": 6}, "freeze: .*less than or equal to 5, found 6"),
            ({"anchors": [[8.0]]}, r"detector\.anchors: one list of sizes a level is needed, found 1 for 5 levels"),
        ],
    )
    def test_slices_that_make_no_sense(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=f"student.yaml: ?(detector: )?.*{message}"):
            detector(**given)

    def test_a_family_without_a_published_detector(self) -> None:
        with pytest.raises(UserError, match="'coco' is of faster_rcnn and retinanet"):
            detector("gfl", "resnet50", weights="coco")


def test_the_slices_of_the_documentation_are_detectors() -> None:
    text = Path(__file__).resolve().parents[1].joinpath("docs/models.md").read_text(encoding="utf-8")
    slices = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    sides = [parse(Side, each, "docs/models.md") for each in slices if "training" in each]
    built = [build("torchvision", side.detector, tiny.K, "docs/models.md") for side in sides]
    strides = [list(each.shapes(frozenset({"neck"}))["neck"]) for each in built]
    assert strides == [["4", "8", "16", "32", "64"]] * 2
    (folder,) = [each["detector"] for each in slices if "pretrained" in each["detector"]]
    with pytest.raises(UserError, match=r"detector\.pretrained: '/models/rtdetr_r50vd' is no folder"):
        build("transformers", folder, tiny.K, "docs/models.md")


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, file: str):
        self.file = file

    def __reduce__(self) -> Any:
        return open, (self.file, "w")


FAMILIES = ("faster_rcnn", "retinanet", "gfl")
SMALL = {"rpn_pre_nms": 40, "rpn_post_nms": 20, "roi_batch": 8, "hidden": 16}


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest) -> tuple[str, Detector, Detector]:
    """Family, student on ResNet-18 and teacher on ResNet-50, which is wider in the neck, too."""
    torch.manual_seed(3)
    sizes = {"family": request.param, **(SMALL if request.param == "faster_rcnn" else {"candidates": 20})}
    groups = {"norm_groups": 4} if request.param == "gfl" else {}
    student, teacher = (
        build("torchvision", {**sizes, **groups, "backbone": backbone, "neck_channels": neck}, tiny.K, "student.yaml")
        for backbone, neck in (("resnet18", 32), ("resnet50", 48))
    )
    return request.param, student, teacher.eval()


SIZED = {"fitnets": {"weight": 1.0, "strides": [8, 16]}, "gid": tiny.METHODS["gid"] | {"canonical": 224.0}}


@pytest.mark.parametrize("method", list(tiny.METHODS))
def test_every_method_distils_a_step_from_resnet50_to_resnet18(pair: Any, method: str) -> None:
    family, student, teacher = pair
    if method in tiny.LACKS[family]:
        pytest.skip(f"{family} has not the taps of {method}")
    images, targets = tiny.batch(2, size=(96, 128))
    distillation = tiny.distillation(family, {method: SIZED.get(method, tiny.METHODS[method])}, student, teacher)
    losses = distillation.train()(images, targets)
    own = [value for term, value in losses.items() if term.startswith(f"{method}.")]
    assert own
    assert all(value.isfinite() for value in losses.values())
    distillation.zero_grad()
    torch.stack(own).sum().backward()
    reached = [p for p in student.parameters() if p.grad is not None and p.grad.any()]
    assert reached
    assert all(parameter.grad is None for parameter in teacher.parameters())
