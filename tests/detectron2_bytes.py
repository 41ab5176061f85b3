"""Print whether Detectron2 is compiled here, and a digest of all that its detectors compute on two images."""

import hashlib
import importlib.util

import tiny
import torch
from torch import Tensor

SIDE = 64


def everything(family: str) -> list[Tensor]:
    """Losses, gradients and detections of a small detector."""
    detector = tiny.detector(family, engine="detectron2")
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, SIDE, SIDE, generator=generator) for _ in range(2)]
    boxes = torch.tensor([[5.0, 6.0, 30.0, 40.0], [20.0, 20.0, 50.0, 60.0]])
    no = torch.zeros(2, dtype=torch.bool)
    target = {"boxes": boxes, "labels": torch.tensor([0, 1]), "iscrowd": no, "difficult": no}
    torch.manual_seed(0)
    losses, _ = detector.train().training_step(
        images, [target | {"image_id": torch.tensor(i)} for i in range(2)], set()
    )
    torch.stack(list(losses.values())).sum().backward()
    gradients = [parameter.grad for parameter in detector.parameters() if parameter.grad is not None]
    with torch.no_grad():
        found = detector.eval().predict(images)
    return [*losses.values(), *gradients, *(value for each in found for value in each.values())]


torch.set_num_threads(1)
digest = hashlib.sha256()
for family in ("faster_rcnn", "retinanet", "fcos", "gfl"):
    for tensor in everything(family):
        digest.update(tensor.detach().numpy().tobytes())
print("compiled" if importlib.util.find_spec("detectron2._C") else "plain", digest.hexdigest())
