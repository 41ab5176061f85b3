"""torchvision's detectors from pixels to detections in tensors whose sizes do not depend on what is found.

torchvision's own inference selects rows image by image, which no exporter can follow for a batch. Here candidates that
drop out keep their row and lose their score, so that a batch of any number of images of any size is one graph.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.ops import clip_boxes_to_image, roi_align

from detdistill.engines.torchvision.detector import per_anchor
from detdistill.export.onnx.nms import kept

Found = tuple[Tensor, Tensor, Tensor]
Size = tuple[int, int]
_LEAST_PROPOSAL, _LEAST_BOX = 1e-3, 1e-2  # pixels of a side, torchvision's


class TorchvisionGraph(nn.Module):
    """Images (N, 3, H, W) in 0..1 to boxes (N, D, 4), scores (N, D) and labels (N, D); a score of 0 means no object."""

    def __init__(self, model: FasterRCNN | RetinaNet):
        super().__init__()
        self.model: Any = model

    def forward(self, images: Tensor) -> Found:
        size = (images.shape[2], images.shape[3])
        inputs = padded(self.model.transform, images)
        features = self.model.backbone(inputs)
        if isinstance(self.model, RetinaNet):
            return self._dense(list(features.values()), inputs, size)
        return self._rois(features, self._proposals(list(features.values()), inputs, size), size)

    def _dense(self, features: list[Tensor], inputs: Tensor, size: Size) -> Found:
        """RetinaNet's and GFL's detections."""
        model = self.model
        anchors = _anchors(model.anchor_generator, features, inputs)
        heads = model.head(features)
        counts = [each.shape[0] for each in anchors]
        deltas = heads["bbox_regression"].split(counts, dim=1)
        if hasattr(model, "deltas"):
            deltas = [model.deltas(edges, level) for level, edges in enumerate(deltas)]
        levels = []
        for logits, delta, anchor in zip(heads["cls_logits"].split(counts, dim=1), deltas, anchors, strict=True):
            classes = logits.shape[-1]
            scores, index = _best(_above(logits.sigmoid().flatten(1), model.score_thresh), model.topk_candidates)
            row = index // classes
            boxes = _decoded(model.box_coder, _rows(delta, row), anchor[row])
            levels.append((clip_boxes_to_image(boxes, size), scores, index % classes))
        boxes, scores, labels = (torch.cat(parts, dim=1) for parts in zip(*levels, strict=True))
        by_class = F.one_hot(labels, classes).transpose(1, 2) * scores[:, None]
        scores = torch.where(kept(boxes, by_class, model.nms_thresh).any(1), scores, 0.0)
        scores, best = _best(scores, model.detections_per_img)
        return _rows(boxes, best), scores, labels.gather(1, best)

    def _proposals(self, features: list[Tensor], inputs: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """(N, P, 4) boxes of the RPN, and which of them are any, (N, P)."""
        rpn = self.model.rpn
        anchors = _anchors(rpn.anchor_generator, features, inputs)
        levels = []
        for logits, deltas, anchor in zip(*rpn.head(features), anchors, strict=True):
            scores, index = _best(per_anchor(logits, 1)[..., 0], rpn.pre_nms_top_n())
            boxes = clip_boxes_to_image(
                _decoded(rpn.box_coder, _rows(per_anchor(deltas, 4), index), anchor[index]), size
            )
            scores = torch.where(_sized(boxes, _LEAST_PROPOSAL), scores.sigmoid(), 0.0)
            keep = kept(boxes, scores[:, None], rpn.nms_thresh)[:, 0]
            levels.append((boxes, torch.where(keep, scores, 0.0)))
        boxes, scores = (torch.cat(parts, dim=1) for parts in zip(*levels, strict=True))
        scores, best = _best(scores, rpn.post_nms_top_n())
        return _rows(boxes, best), scores > 0

    def _rois(self, features: dict[str, Tensor], proposals: tuple[Tensor, Tensor], size: Size) -> Found:
        """Faster R-CNN's detections."""
        heads = self.model.roi_heads
        boxes, valid = proposals
        images, count = valid.shape
        rois = boxes.flatten(0, 1)
        logits, deltas = heads.box_predictor(heads.box_head(_pooled(heads.box_roi_pool, features, boxes)))
        scores = logits.softmax(-1)[:, 1:].unflatten(0, (images, count)).transpose(1, 2)
        classes = scores.shape[1]
        found = heads.box_coder.decode_single(deltas, rois).unflatten(0, (images, count)).unflatten(2, (-1, 4))
        found = clip_boxes_to_image(found[:, :, 1:].transpose(1, 2), size)
        usable = valid[:, None] & _sized(found, _LEAST_BOX)
        scores = torch.where(usable, _above(scores, heads.score_thresh), 0.0)
        keep = kept(found.flatten(0, 1), scores.flatten(0, 1)[:, None], heads.nms_thresh)[:, 0]
        scores = torch.where(keep, scores.flatten(0, 1), 0.0).unflatten(0, (images, classes))
        scores, best = _best(scores.flatten(1), heads.detections_per_img)
        return _rows(found.flatten(1, 2), best), scores, best // count


def padded(transform: Any, images: Tensor) -> Tensor:
    """Images (N, 3, H, W) normalised, and zeros to the right and below, so that every level has whole cells."""
    step = transform.size_divisible
    height, width = images.shape[2:]
    return F.pad(transform.normalize(images), (0, -width % step, 0, -height % step))


def _anchors(generator: Any, features: list[Tensor], inputs: Tensor) -> list[Tensor]:
    """(HWA, 4) a level."""
    sizes = [(each.shape[2], each.shape[3]) for each in features]
    strides = [[inputs.shape[2] // h, inputs.shape[3] // w] for h, w in sizes]
    return generator.grid_anchors(sizes, strides)


def _best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` best of (N, S) and their places, both (N, count); of score 0 or less where there are no more."""
    best, index = F.pad(scores, (0, count), value=-torch.inf).topk(count)
    return best, torch.where(index < scores.shape[1], index, 0)


def _above(scores: Tensor, threshold: float) -> Tensor:
    return torch.where(scores > threshold, scores, 0.0)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """(N, M, 4): rows `index` (N, M) of values (N, S, 4)."""
    return values.gather(1, index[..., None].expand(-1, -1, 4))


def _decoded(coder: Any, deltas: Tensor, anchors: Tensor) -> Tensor:
    """(N, M, 4) boxes of deltas (N, M, 4) and anchors (N, M, 4)."""
    return coder.decode_single(deltas.flatten(0, 1), anchors.flatten(0, 1)).view_as(deltas)


def _sized(boxes: Tensor, least: float) -> Tensor:
    """Whether both sides of boxes (..., 4) are of at least that many pixels."""
    return (boxes[..., 2:] - boxes[..., :2] >= least).all(-1)


def _pooled(pool: Any, features: dict[str, Tensor], boxes: Tensor) -> Tensor:
    """(NP, C, h, w): every RoI of boxes (N, P, 4) from its own level; each level pools all, and one is taken."""
    image = torch.arange(boxes.shape[0], device=boxes.device).repeat_interleave(boxes.shape[1])
    flat = boxes.flatten(0, 1)
    rois = torch.cat([image[:, None].to(flat), flat], dim=1)
    level = pool.map_levels([flat])
    maps = [
        roi_align(features[name], rois, pool.output_size, scale, pool.sampling_ratio)
        for name, scale in zip(pool.featmap_names, pool.scales, strict=True)
    ]
    pooled = maps[0]
    for place, each in enumerate(maps[1:], start=1):
        pooled = torch.where((level == place)[:, None, None, None], each, pooled)
    return pooled
