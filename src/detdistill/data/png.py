"""PNG files with the same bytes on every machine.

Compressed PNGs differ from one zlib to the next, and then two drivers on two machines disagree about unchanged data.
Stored (uncompressed) blocks have one encoding only.
"""

import struct
import zlib

import numpy as np

_LONGEST_BLOCK = 0xFFFF


def encode(pixels: np.ndarray) -> bytes:
    """An uncompressed PNG of `pixels`, (H, W, 3) uint8 RGB. Format: RFC 2083, deflate blocks of RFC 1951."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row starts with filter type 0, none
    rows[:, 1:] = pixels.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", _stored(rows.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _stored(raw: bytes) -> bytes:
    blocks = [raw[start : start + _LONGEST_BLOCK] for start in range(0, len(raw), _LONGEST_BLOCK)]
    stream = b"\x78\x01"
    for index, block in enumerate(blocks):
        last = index == len(blocks) - 1
        stream += struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block
    return stream + struct.pack(">I", zlib.adler32(raw))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
