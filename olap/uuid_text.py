"""UUID columns from sixteen bytes to text, a whole column at once.

Belongs here: that one conversion; Arrow has none, and one Python object a value would cost more than the reading.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_HEX_PAIRS = np.array([list(f"{byte:02x}".encode()) for byte in range(256)], dtype=np.uint8).view(np.uint16).ravel()
_GROUPS = ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24))
"""From hexadecimal digit, to digit, and where the group starts in the text with its four hyphens."""
_TEXT_LENGTH = 36


def uuid_to_text(column: pa.Array) -> pa.StringArray:
    """Returns the canonical text of every UUID; nulls stay null.

    Args:
        column: an `arrow.uuid` extension array, or sixteen-byte binary.
    """
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    rows = len(storage)
    if rows == 0:
        return pa.array([], pa.string())
    data = np.frombuffer(storage.buffers()[1], dtype=np.uint8)[storage.offset * 16 : (storage.offset + rows) * 16]
    digits = _HEX_PAIRS[data].view(np.uint8).reshape(rows, 32)
    text = np.full((rows, _TEXT_LENGTH), ord("-"), dtype=np.uint8)
    for start, end, position in _GROUPS:
        text[:, position : position + end - start] = digits[:, start:end]
    offsets = np.arange(0, _TEXT_LENGTH * (rows + 1), _TEXT_LENGTH, dtype=np.int32)
    validity = None
    if storage.null_count:
        validity = pa.py_buffer(np.packbits(pc.is_valid(storage).to_numpy(zero_copy_only=False), bitorder="little"))
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text), validity, storage.null_count)
