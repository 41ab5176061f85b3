"""Images of the same pixels in files of other bytes, such as one photograph saved as JPEG and again as PNG."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from detdistill.core.errors import UserError
from detdistill.core.files import read_bytes
from detdistill.data.hold_out import several
from detdistill.dataset.pixels import decode


def twins(files: Sequence[str], root: Path) -> list[list[str]]:
    """The files that share their pixels with others, but not their bytes with all of them."""
    digests = {file: found for file in files if (found := _digests(root / file))}
    alike = several(list(digests), lambda file: digests[file][0])
    return sorted(sorted(same) for same in alike if len({digests[file][1] for file in same}) > 1)


def _digests(path: Path) -> tuple[bytes, bytes] | None:
    """Of pixels and of bytes; None for what is no image, which is told when all images are looked at."""
    try:
        content = read_bytes(path)
        whole = decode(path, content)
    except UserError:
        return None
    return sha256(repr(whole.size).encode() + whole.tobytes()).digest(), sha256(content).digest()
