"""Non-maximum suppression as one operator whose shapes do not depend on the data, in PyTorch and in ONNX.

Both sides suppress within an image and a class, so neither needs boxes that are moved apart by class.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms

_ALL = 2**31 - 1  # boxes that ONNX's operator may keep
_BOOL = 9  # ONNX's number of the type


@torch.library.custom_op("detdistill::kept", mutates_args=())
def kept(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Which candidates suppression keeps, (B, C, S) bool.

    Args:
        boxes: (B, S, 4) xyxy.
        scores: (B, C, S); only boxes of a score above zero are candidates of a class.
        iou: a box that overlaps a better one by more is dropped.
    """
    found = torch.zeros_like(scores, dtype=torch.bool)
    for b, c in product(range(scores.shape[0]), range(scores.shape[1])):
        candidates = scores[b, c].gt(0).nonzero()[:, 0]
        found[b, c, candidates[nms(boxes[b, candidates], scores[b, c, candidates], iou)]] = True
    return found


@kept.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def translations() -> dict[Any, Any]:
    """How PyTorch's exporter writes `kept` in ONNX."""
    from onnxscript import opset18

    op: Any = opset18

    def kept_in_onnx(boxes: Any, scores: Any, iou: float) -> Any:
        rows = op.NonMaxSuppression(boxes, scores, _ALL, iou, 0.0)  # (M, 3): image, class, box
        none = op.Expand(op.Constant(value_ints=[0]), op.Shape(scores))
        ones = op.Expand(op.Constant(value_ints=[1]), op.Shape(rows, start=0, end=1))
        return op.Cast(op.ScatterND(none, rows, ones), to=_BOOL)

    return {torch.ops.detdistill.kept.default: kept_in_onnx}
