"""ONNX: a model from pixels to detections as one graph, that needs neither this package nor PyTorch to run.

Input `images` (N, 3, H, W) float32 in 0..1, RGB. Outputs `boxes` (N, D, 4) xyxy in pixels, `scores` (N, D) descending
and `labels` (N, D) in 0..K-1; a score of 0 means that there are no more detections. N is free; H and W are, too, but of
Deformable DETR.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import torch
from torch import nn

from detdistill.core.errors import UserError
from detdistill.detectors.base import Detector
from detdistill.engines.transformers.detector import SetPredictionDetector
from detdistill.export.onnx.nms import translations
from detdistill.export.onnx.torchvision import TorchvisionGraph
from detdistill.export.onnx.transformers import TransformersGraph
from detdistill.export.shrink import LINES
from detdistill.export.trained import Trained

FILE = "model.onnx"
NEEDED = ("onnx", "onnxscript")
OPSET = 18


def check(engine: str) -> None:
    """Raise UserError where this format cannot be written, before any work."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise UserError(f"--format onnx: {missing[0]} is not installed; pip install 'detdistill[export]' installs it")
    if engine not in ("torchvision", "transformers"):
        raise UserError(f"--format onnx: models of {engine} have no graph here; allowed: torchvision, transformers")


@torch.no_grad()
def write(trained: Trained, folder: Path) -> str:
    """Write `model.onnx`; how to run it, in Markdown. Raises UserError for a family whose graph would be wrong."""
    detector = trained.detector.eval()
    if isinstance(detector, SetPredictionDetector) and detector.masks_padding:
        raise UserError(
            f"--format onnx: of {type(detector).__name__} PyTorch's exporter makes an invalid graph, by its masks; "
            "allowed: models of rt_detr, faster_rcnn, retinanet and gfl"
        )
    height, width = trained.image_size or (256, 256)
    example = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    detector.predict(list(example))  # torchvision's pooling learns the strides of its levels from its first images
    dynamic = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about the insides of models that it can export
        program = torch.onnx.export(
            graph(detector).eval(),
            (example,),
            input_names=["images"],
            output_names=["boxes", "scores", "labels"],
            dynamic_shapes=(dict.fromkeys((0, 2, 3), dynamic),),
            custom_translation_table=translations(),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(folder / FILE)
    opened, scaled = (LINES.format(longest=trained.resize), SCALED) if trained.resize else (OPENED, "")
    return USE.format(opened=opened, scaled=scaled)


def graph(detector: Detector) -> nn.Module:
    """The detector as a module of tensors alone: images (N, 3, H, W) to boxes, scores and labels."""
    return (
        TransformersGraph(detector) if isinstance(detector, SetPredictionDetector) else TorchvisionGraph(detector.model)
    )


OPENED = 'shown = Image.open("image.png").convert("RGB")\n'
SCALED = "boxes *= np.float32(2 * photo.size) / np.float32(2 * shown.size)  # in pixels of the image as given\n"
USE = """\
`model.onnx` runs in ONNX Runtime without PyTorch. `images` (N, 3, H, W): float32 in 0..1, RGB, of any size, alike in a
batch. `boxes` (N, D, 4) xyxy in pixels, `scores` (N, D) descending, `labels` (N, D) from 0; a score of 0 means that
there are no more detections.

```python
import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("model.onnx")
{opened}image = np.asarray(shown, np.float32).transpose(2, 0, 1) / 255
boxes, scores, labels = session.run(None, {{"images": image[None]}})
{scaled}```
"""
