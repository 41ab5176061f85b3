"""What a step cost and on what machine: the figures that cannot repeat, in a record of their own."""

import os
import platform
import resource
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from detdistill.core import record
from detdistill.core.code import Used

_PACKAGES = (
    "detdistill", "torch", "torchvision", "transformers", "detectron2", "accelerate", "numpy", "pillow", "pycocotools",
    "scikit-learn", "safetensors",
)  # fmt: skip


@dataclass(frozen=True)
class Spent:
    """Wall time, processor time of all cores (children included) and the peak of resident memory."""

    wall_seconds: float = 0.0
    core_seconds: float = 0.0
    peak_memory_bytes: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        """Times add up, peaks do not: the larger one counts."""
        return Spent(
            self.wall_seconds + other.wall_seconds,
            self.core_seconds + other.core_seconds,
            max(self.peak_memory_bytes, other.peak_memory_bytes),
        )


class Measurement:
    """The cost of a `with` block; `spent` may be asked inside the block too, up to that moment."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._end: Spent | None = None

    def __enter__(self) -> Self:
        self._wall, self._core = time.perf_counter(), _core_seconds()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end = self.spent()

    def spent(self) -> Spent:
        """What the block has cost."""
        if self._end is not None:
            return self._end
        return Spent(time.perf_counter() - self._wall, _core_seconds() - self._core, _peak_memory_bytes())

    def record(
        self,
        path: Path,
        wrote: Iterable[str] = (),
        used: Used | None = None,
        earlier: Spent | None = None,
        **figures: Any,
    ) -> None:
        """Write the step's record, when all else is written.

        Args:
            path: `timing.json`, or what it is called in this folder.
            wrote: the names of the other files that the step wrote there.
            used: what it has read.
            earlier: what a killed first part of the same step had already cost.
            figures: what a step adds.
        """
        total = self.spent() + (earlier or Spent())
        content = {"step": self._step, **asdict(total), **figures, "machine": machine(), "versions": versions()}
        record.write(path, content, used, wrote)


def measure(step: str) -> Measurement:
    """Measure a step: `with measure("data") as cost: ...`, then `cost.record(path)`."""
    return Measurement(step)


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory in bytes, platform, Python version, and the accelerator if any.

    The time of an accelerator is not in the core time.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch = sys.modules.get("torch")
    device = torch.accelerator.current_accelerator(check_available=True) if torch else None
    return {
        "cpu": _cpu(),
        "cores": cores,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        **({"accelerator": str(device.type)} if device else {}),
    }


def versions() -> dict[str, str]:
    """The versions of the packages that a step's results depend on; one that is imported may be there uninstalled."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if told := getattr(sys.modules.get(package), "__version__", None):
                found[package] = told
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _core_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_memory_bytes() -> int:
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(peaks) * (1 if sys.platform == "darwin" else 1024)  # Linux counts in KiB, macOS in bytes
