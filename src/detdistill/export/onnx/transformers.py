"""transformers' set-prediction detectors from pixels to detections."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_convert

from detdistill.engines.transformers.detector import SetPredictionDetector
from detdistill.export.onnx.torchvision import Found, padded


class TransformersGraph(nn.Module):
    """Images (N, 3, H, W) in 0..1 to boxes (N, D, 4), scores (N, D) and labels (N, D)."""

    def __init__(self, detector: SetPredictionDetector):
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> Found:
        detector = self.detector
        height, width = images.shape[2:]
        inputs = padded(detector.transform, images)
        below, beside = inputs.shape[2] - height, inputs.shape[3] - width
        mask = F.pad(torch.ones_like(images[:, 0], dtype=torch.long), (0, beside, 0, below))
        outputs = detector.model(inputs, pixel_mask=mask)
        if not detector.masks_padding:
            height, width = inputs.shape[2:]
        left, top, right, bottom = box_convert(outputs.pred_boxes, "cxcywh", "xyxy").unbind(-1)
        boxes = torch.stack([left * width, top * height, right * width, bottom * height], dim=-1)
        scores = outputs.logits.sigmoid().flatten(1)
        scores, index = scores.topk(min(detector.detections, scores.shape[1]), dim=1)
        rows = (index // detector.num_classes)[..., None].expand(-1, -1, 4)
        return boxes.gather(1, rows), scores, index % detector.num_classes
