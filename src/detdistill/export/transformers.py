"""transformers: a folder as `save_pretrained` writes it, which `pipeline("object-detection")` loads.

A model with its published backbone is transformers' own. One on our small trunk, a residual body with a feature pyramid
inside of the backbone, has no words in a configuration of transformers: `modeling_distilled.py` goes with it, made of
the very source that was trained, and transformers reads it where `trust_remote_code=True` allows it.
"""

from __future__ import annotations

from copy import deepcopy
from inspect import getsource
from pathlib import Path
from typing import Any

from transformers import DeformableDetrImageProcessor, PreTrainedConfig, RTDetrImageProcessor

from detdistill.core.files import write_atomic, write_json
from detdistill.detectors.resnet_fpn import ResNetFPN
from detdistill.engines.transformers import FAMILIES
from detdistill.engines.transformers.detector import SetPredictionParams, Trunk, scale_mask
from detdistill.export.shrink import LINES
from detdistill.export.trained import Trained

MODULE = "modeling_distilled"
SOURCE = '''\
"""{base} on the small trunk that it was trained with, which transformers has not."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork
from transformers import {base} as Base
from transformers import {config}


{parts}

class DistilledConfig({config}):
    model_type = "distilled_{family}"  # another name, so that nothing loads it without this trunk


class {base}(Base):
    config_class = DistilledConfig

    def __init__(self, config):
        super().__init__(config)
        self.model.backbone = Trunk(SimpleNamespace(**config.trunk))
'''


def write(trained: Trained, folder: Path) -> str:
    """Write configuration, image processor and, for our small trunk, its source; how to load them, in Markdown."""
    detector = trained.detector
    model = detector.model
    config = deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.id2label = dict(enumerate(trained.classes))
    config.label2id = {name: label for label, name in config.id2label.items()}
    own_trunk = isinstance(model.model.backbone, Trunk)
    if own_trunk:
        _write_own(trained, config, folder)
    else:
        config.save_pretrained(folder)
    processor = RTDetrImageProcessor if trained.params["family"] == "rt_detr" else DeformableDetrImageProcessor
    transform: Any = detector.transform
    options: dict[str, Any] = {"image_mean": transform.image_mean, "image_std": transform.image_std}
    if trained.resize:
        options["size"] = {"shortest_edge": trained.resize, "longest_edge": trained.resize}
    processor(do_resize=bool(trained.resize), do_normalize=True, **options).save_pretrained(folder)
    return (USE + (SHRINKING if trained.resize else AS_THEY_ARE)).format(
        trust=", trust_remote_code=True" if own_trunk else "",
        why=OWN_TRUNK if own_trunk else "",
        step=transform.size_divisible,
        threshold=0.5 if trained.threshold is None else round(trained.threshold, 3),
        longest=trained.resize,
        lines=LINES.format(longest=trained.resize),
        extent=OF_IMAGE if detector.masks_padding else OF_PADDED,
    )


def _write_own(trained: Trained, config: PreTrainedConfig, folder: Path) -> None:
    """`config.json` and the source of a model on our trunk."""
    family, name = trained.params["family"], type(trained.detector.model).__name__
    sizes: SetPredictionParams = FAMILIES[family][0].model_validate(trained.params)
    content = config.to_dict() | {
        "model_type": f"distilled_{family}",
        "trunk": {name: getattr(sizes, name) for name in ("widths", "blocks", "neck_channels", "strides")},
        "auto_map": {"AutoConfig": f"{MODULE}.DistilledConfig", "AutoModelForObjectDetection": f"{MODULE}.{name}"},
    }
    parts = "\n\n".join(getsource(part) for part in (ResNetFPN, scale_mask, Trunk))
    text = SOURCE.format(base=name, config=type(config).__name__, family=family, parts=parts)
    write_json(folder / "config.json", content)
    write_atomic(folder / f"{MODULE}.py", text.encode())


OWN_TRUNK = (
    " Its trunk, a small residual body with a feature pyramid inside, is none that a configuration of transformers can "
    f"name, so transformers asks for leave to read `{MODULE}.py`, which is that trunk's source."
)
USE = """\
In transformers:{why}

```python
from transformers import pipeline

detect = pipeline("object-detection", model="."{trust})
found = detect("image.png", threshold={threshold})
```
"""
OF_IMAGE = "photo.height, photo.width"
OF_PADDED = "photo.height * padded.shape[2] / shown.height, photo.width * padded.shape[3] / shown.width"
AS_THEY_ARE = """
Images are taken as they are; sides of whole multiples of {step} pixels give the detections that were evaluated, since
detdistill pads others and transformers' pipeline does not.
"""
SHRINKING = """
The pipeline shrinks images to {longest} pixels. But it enlarges smaller ones, which detdistill does not, and does not
pad sides to whole multiples of {step} pixels, which detdistill does and without which RT-DETR may stumble. These lines
find what detdistill finds:

```python
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection

prepare = AutoImageProcessor.from_pretrained(".")
model = AutoModelForObjectDetection.from_pretrained("."{trust}).eval()
{lines}pixels = prepare(shown, do_resize=False, return_tensors="pt").pixel_values
edges = (0, -shown.width % {step}, 0, -shown.height % {step})
padded, mask = F.pad(pixels, edges), F.pad(torch.ones_like(pixels[:, 0], dtype=torch.long), edges)
with torch.no_grad():
    outputs = model(padded, pixel_mask=mask)
size = {extent}
[found] = prepare.post_process_object_detection(outputs, {threshold}, [size])
```
"""
