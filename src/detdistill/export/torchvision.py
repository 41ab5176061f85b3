"""torchvision: `load.py` builds the model of torchvision's own classes; our small trunk's source goes with it."""

from __future__ import annotations

from functools import partial
from inspect import getsource
from pathlib import Path
from typing import Any

from torchvision.models import detection

from detdistill.core.files import write_atomic
from detdistill.detectors.resnet_fpn import KeepSize, ResNetFPN
from detdistill.engines.torchvision import backbone
from detdistill.engines.torchvision.backbone import BackboneParams
from detdistill.engines.torchvision.detector import SmallTrunkParams
from detdistill.engines.torchvision.faster_rcnn import FasterRCNNOnBackboneParams, FasterRCNNParams
from detdistill.engines.torchvision.retinanet import RetinaNetOnBackboneParams, RetinaNetParams
from detdistill.export.folder import PACKAGE
from detdistill.export.shrink import Shrink
from detdistill.export.trained import Trained

FILE = "load.py"
IMPORTS = '''\
"""This model in torchvision alone: `model = load()`, then `model([image])` with float images (3, H, W) in 0..1, RGB."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import detection, get_model
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d
'''
FASTER_RCNN = """\
    model = detection.FasterRCNN(
        backbone,
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_test={rpn_pre_nms},
        rpn_post_nms_top_n_test={rpn_post_nms},
        box_roi_pool=MultiScaleRoIAlign({pooled}, {roi_size}, {roi_samples}, canonical_scale={roi_canonical}),
        box_head=TwoMLPHead(backbone.out_channels * {roi_size}**2, {hidden}),
        box_predictor=FastRCNNPredictor({hidden}, {background_too}),
        box_detections_per_img={detections},
    )
"""
RETINANET = """\
    norm = {norm}
    head = RetinaNetHead(backbone.out_channels, anchors.num_anchors_per_location()[0], {classes}, norm_layer=norm)
    for part in (head.classification_head, head.regression_head):
        part.conv = part.conv[:{convolutions}]
    model = detection.RetinaNet(
        backbone,
        num_classes={classes},
        anchor_generator=anchors,
        head=head,
        detections_per_img={detections},
        topk_candidates={candidates},
    )
"""
SMALL = """\
    sizes: Any = SimpleNamespace(widths={widths}, blocks={blocks}, neck_channels={neck_channels}, strides={strides})
    backbone = ResNetFPN(sizes)
"""
PUBLISHED = """\
    body = get_model({name!r}, weights=None{norm}){features}
    backbone = BackboneWithFPN(body, {ends}, {channels}, {neck_channels}, {extra})
"""
LOAD = '''\
def load(weights: Path = Path(__file__).with_name("model.safetensors")) -> {kind}:
    """The trained model, ready to detect. Its labels are {labels}."""
{backbone}    anchors = AnchorGenerator({anchors}, ({aspect_ratios},) * {levels})
{model}    model.transform = {transform}({longest}, {longest}, {mean}, {std}, size_divisible={divisor})
    model.load_state_dict(load_file(weights))
    return model.eval()
'''
USE = """\
`load.py` builds it of torchvision's own classes, without detdistill:

```python
from load import load
from torchvision.io import decode_image

[found] = load()([decode_image("image.png", mode="RGB") / 255])  # boxes xyxy in pixels, labels, scores
```
"""


def write(trained: Trained, folder: Path) -> str:
    """Write `load.py` where torchvision has the family; how to load the model, in Markdown."""
    model = trained.detector.model
    if type(model) not in (detection.FasterRCNN, detection.RetinaNet):
        return PACKAGE.format(why=f"torchvision has no {type(model).__name__}")
    write_atomic(folder / FILE, source(trained).encode())
    return USE


def source(trained: Trained) -> str:
    """`load.py`."""
    model = trained.detector.model
    two_stage = isinstance(model, detection.FasterRCNN)
    small, on_backbone = (
        (FasterRCNNParams, FasterRCNNOnBackboneParams) if two_stage else (RetinaNetParams, RetinaNetOnBackboneParams)
    )
    sizes: Any = (on_backbone if "backbone" in trained.params else small).model_validate(trained.params)
    classes = len(trained.classes)
    norm = f"partial(nn.GroupNorm, {sizes.norm_groups})" if not two_stage and sizes.norm_groups else None
    values = {name: getattr(sizes, name) for name in type(sizes).model_fields} | {"classes": classes, "norm": norm}
    pooled = model.roi_heads.box_roi_pool.featmap_names if two_stage else None
    transform = Shrink if trained.resize else KeepSize
    load = LOAD.format(
        kind=f"detection.{type(model).__name__}",
        labels=f"1 to {classes}, 0 is the background" if two_stage else f"0 to {classes - 1}",
        backbone=_on_backbone(sizes) if isinstance(sizes, BackboneParams) else _small(sizes),
        divisor=sizes.divisor,
        levels=len(sizes.anchors),
        model=(FASTER_RCNN if two_stage else RETINANET).format(**values, pooled=pooled, background_too=classes + 1),
        anchors=tuple(map(tuple, sizes.anchors)),
        aspect_ratios=tuple(sizes.aspect_ratios),
        transform=transform.__name__,
        longest=trained.resize or 0,
        mean=sizes.mean,
        std=sizes.std,
    )
    own = [backbone._P6P7 if sizes.dense else backbone._MaxPool] if isinstance(sizes, BackboneParams) else [ResNetFPN]
    return "\n\n".join([IMPORTS, *map(getsource, own), getsource(transform), load])


def _small(sizes: SmallTrunkParams) -> str:
    return SMALL.format(**{name: getattr(sizes, name) for name in ("widths", "blocks", "neck_channels", "strides")})


def _on_backbone(sizes: BackboneParams) -> str:
    norm = sizes._normalisation().get("norm_layer")
    frozen = f", norm_layer=partial(FrozenBatchNorm2d, eps={norm.keywords['eps']})" if isinstance(norm, partial) else ""
    ends, strides = sizes.body.ends[1:][sizes.stages], map(str, backbone.STRIDES[sizes.stages])
    return PUBLISHED.format(
        name=sizes.backbone,
        norm=frozen,
        features="" if sizes.backbone.startswith("resnet") else ".features",
        ends=dict(zip(ends, strides, strict=True)),
        channels=list(sizes.body.channels[sizes.stages]),
        neck_channels=sizes.neck_channels,
        extra=f"_P6P7({sizes.neck_channels})" if sizes.dense else "_MaxPool()",
    )
