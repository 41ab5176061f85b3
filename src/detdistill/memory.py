"""Too little memory, told in one sentence instead of a traceback, or of the kernel's kill."""

from __future__ import annotations

import contextlib
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from detdistill.core.errors import UserError

_WORDS = re.compile("not enough memory|can't allocate memory|out of memory", re.IGNORECASE)
"""PyTorch's; it has no class for the processor's memory."""


def is_lack(error: BaseException) -> bool:
    """Whether an error says that memory was refused."""
    return isinstance(error, MemoryError) or bool(isinstance(error, RuntimeError) and _WORDS.search(str(error)))


@contextlib.contextmanager
def bounded(where: str) -> Iterator[None]:
    """No more memory inside than the machine has, so that a slip of the keyboard is refused at once.

    Raises:
        UserError: memory was refused; it begins with `where`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    page = os.sysconf("SC_PAGE_SIZE")
    memory = page * os.sysconf("SC_PHYS_PAGES")
    pages = Path("/proc/self/statm")  # what is mapped already; elsewhere than on Linux this limit does not hold anyway
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    if pages.is_file():
        limits.append(page * int(pages.read_text().split()[0]) + memory)
    if limits:
        resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_lack(error):
            raise
        raise UserError(f"{where}: needs more memory than the {memory / 2**30:.0f} GiB of this machine") from error
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
