"""torchvision: `load.py` builds the model of torchvision's own classes; our small trunk's source goes with it."""

from __future__ import annotations

from inspect import getsource
from pathlib import Path
from typing import Any

from torchvision.models import detection

from detdistill.core.files import write_atomic
from detdistill.detectors.resnet_fpn import KeepSize, ResNetFPN
from detdistill.engines.torchvision.faster_rcnn import FasterRCNNParams
from detdistill.engines.torchvision.retinanet import RetinaNetParams
from detdistill.export.folder import PACKAGE
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

from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
'''
FASTER_RCNN = """\
    model = detection.FasterRCNN(
        backbone,
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_test={rpn_pre_nms},
        rpn_post_nms_top_n_test={rpn_post_nms},
        box_roi_pool=MultiScaleRoIAlign(
            list(backbone.body), {roi_size}, {roi_samples}, canonical_scale={roi_canonical}
        ),
        box_head=TwoMLPHead(backbone.out_channels * {roi_size}**2, {hidden}),
        box_predictor=FastRCNNPredictor({hidden}, {background_too}),
        box_detections_per_img={detections},
    )
"""
RETINANET = """\
    norm = {norm}
    head = RetinaNetHead(backbone.out_channels, anchors.num_anchors_per_location()[0], {classes}, norm_layer=norm)
    model = detection.RetinaNet(
        backbone,
        num_classes={classes},
        anchor_generator=anchors,
        head=head,
        detections_per_img={detections},
        topk_candidates={candidates},
    )
"""
LOAD = '''\
def load(weights: Path = Path(__file__).with_name("model.safetensors")) -> {kind}:
    """The trained model, ready to detect. Its labels are {labels}."""
    sizes: Any = SimpleNamespace(widths={widths}, blocks={blocks}, neck_channels={neck_channels}, strides={strides})
    backbone = ResNetFPN(sizes)
    anchors = AnchorGenerator({anchors}, ({aspect_ratios},) * {levels})
{model}    model.transform = KeepSize(0, 0, {mean}, {std}, size_divisible={divisor})
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
    if type(model) not in (detection.FasterRCNN, detection.RetinaNet) or not isinstance(model.backbone, ResNetFPN):
        return PACKAGE.format(why=f"torchvision has no {type(model).__name__} like it")
    write_atomic(folder / FILE, source(trained).encode())
    return USE


def source(trained: Trained) -> str:
    """`load.py`."""
    two_stage = isinstance(trained.detector.model, detection.FasterRCNN)
    sizes: Any = (FasterRCNNParams if two_stage else RetinaNetParams).model_validate(trained.params)
    classes = len(trained.classes)
    norm = f"partial(nn.GroupNorm, {sizes.norm_groups})" if not two_stage and sizes.norm_groups else None
    values = sizes.model_dump() | {"classes": classes, "norm": norm}
    load = LOAD.format(
        kind=f"detection.{type(trained.detector.model).__name__}",
        labels=f"1 to {classes}, 0 is the background" if two_stage else f"0 to {classes - 1}",
        strides=sizes.strides,
        divisor=sizes.strides[-1],
        levels=len(sizes.anchors),
        model=(FASTER_RCNN if two_stage else RETINANET).format(**values, background_too=classes + 1),
        **{name: values[name] for name in ("widths", "blocks", "neck_channels", "mean", "std")},
        anchors=tuple(map(tuple, sizes.anchors)),
        aspect_ratios=tuple(sizes.aspect_ratios),
    )
    return "\n\n".join([IMPORTS, getsource(ResNetFPN), getsource(KeepSize), load])
