"""What a detector costs at inference: parameters, floating-point operations, milliseconds."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from detdistill.detectors.base import Detector

REPEATS = 50
WARM_UP = 5


def parameters(detector: Detector) -> int:
    """The number of parameters, trained or frozen; buffers such as running means are not counted."""
    return sum(parameter.numel() for parameter in detector.parameters())


@torch.no_grad()
def flops(detector: Detector, image: Tensor) -> int:
    """Floating-point operations of one detection on `image`, float (3, H, W) in 0..1.

    PyTorch's count of convolutions and matrix products, two operations a multiply-add. Pooling, normalisation and
    NMS are not in it. Two-stage detectors do more on an image with more proposals, hence a given image.
    """
    with _evaluating(detector), FlopCounterMode(display=False) as counter:
        detector.predict([image])
    return int(counter.get_total_flops())


@torch.no_grad()
def latency(detector: Detector, images: list[Tensor], repeats: int = REPEATS) -> dict[str, Any]:
    """Wall time of a detection on one image by one thread: median and 90th percentile in milliseconds.

    The images, float (3, H, W) in 0..1, are taken in turn.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _evaluating(detector):
            times = [_milliseconds(detector, images[turn % len(images)]) for turn in range(WARM_UP + repeats)][WARM_UP:]
    finally:
        torch.set_num_threads(threads)
    return {
        "milliseconds_per_image": statistics.median(times),
        "p90": statistics.quantiles(times, n=10, method="inclusive")[-1],
        "batch": 1,
        "threads": 1,
        "repeats": repeats,
    }


def _milliseconds(detector: Detector, image: Tensor) -> float:
    start = time.perf_counter()
    detector.predict([image])
    if image.is_cuda:
        torch.cuda.synchronize(image.device)  # a GPU works on after the call returns
    return 1000 * (time.perf_counter() - start)


@contextmanager
def _evaluating(detector: Detector) -> Iterator[None]:
    """Evaluation mode inside and no parameter that asks for gradients, what was before afterwards."""
    training = detector.training
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    detector.eval().requires_grad_(False)  # the counter of operations stumbles over a parameter that a module is given
    try:
        yield
    finally:
        detector.train(training)
        for parameter in trained:
            parameter.requires_grad_()
