"""What may be in a job's payload: ids and small configuration.

Belongs here: the rules and the one function that applies them. Does not belong here: the shape of one queue's payload
(its handler's pydantic model).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from pydantic import BaseModel

from penguinmails.queue.errors import PayloadRefused

MAX_PAYLOAD_BYTES = 16 * 1024
MAX_STRING_CHARACTERS = 2_048
MAX_DEPTH = 6

_REMEDY = "Put it into the store it belongs to and enqueue its id."
_BODY_NAMES = frozenset(
    {
        *("body", "bodies", "bodyhtml", "bodytext", "htmlbody", "textbody", "html", "rawmessage", "rawemail", "mime"),
        *("messagebody", "emailbody", "attachment", "attachments", "eml", "rfc822", "filecontent"),
    }
)
_SECRET_NAME = re.compile(
    r"password|passwd|secret|credential|apikey|accesskey|privatekey|authorization|bearer|accesstoken|refreshtoken"
    r"|authtoken|sessiontoken|jwt|cookie|^token$|^pwd$"
)
_SECRET_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bsk_live_|\bgh[pousr]_[A-Za-z0-9]{30}|\bxox[abpr]-"
    r"|^Bearer |\beyJ[A-Za-z0-9_-]{10,}\.eyJ|://[^/\s:@]+:[^/\s:@]+@"
)


def encode_payload(payload: Mapping[str, Any] | BaseModel) -> str:
    """Returns `payload` as JSON text after checking it.

    Raises:
        PayloadRefused: it is no JSON object, too large, too deep, or holds what looks like a body or a secret. The
            message names the field, never its value.
    """
    document = payload.model_dump(mode="json") if isinstance(payload, BaseModel) else payload
    if not isinstance(document, Mapping):
        raise PayloadRefused("payload", f"is a {type(document).__name__}, not an object", "Enqueue a JSON object.")
    for path, name, value, depth in _fields(document, "", 1):
        _check_field(path, name, value, depth)
    try:
        encoded = orjson.dumps(dict(document), option=orjson.OPT_UTC_Z)
    except (TypeError, ValueError) as error:
        raise PayloadRefused("payload", f"has no JSON form ({type(error).__name__})", "Use plain values.") from None
    if len(encoded) > MAX_PAYLOAD_BYTES:
        raise PayloadRefused("payload", f"is {len(encoded):,} bytes of at most {MAX_PAYLOAD_BYTES:,}", _REMEDY)
    return encoded.decode()


def _check_field(path: str, name: str, value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise PayloadRefused(f"payload field {path}", f"is nested deeper than {MAX_DEPTH} levels", _REMEDY)
    plain_name = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain_name in _BODY_NAMES:
        raise PayloadRefused(f"payload field {path}", "is named like a message body", _REMEDY)
    if _SECRET_NAME.search(plain_name):
        raise PayloadRefused(f"payload field {path}", "is named like a secret", _REMEDY)
    if isinstance(value, float) and not math.isfinite(value):
        raise PayloadRefused(f"payload field {path}", "is not a finite number", "Leave it out or use null.")
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise PayloadRefused(f"payload field {path}", "is binary", _REMEDY)
    if isinstance(value, str):
        _check_text(path, value)


def _check_text(path: str, value: str) -> None:
    if len(value) > MAX_STRING_CHARACTERS:
        raise PayloadRefused(f"payload field {path}", f"is longer than {MAX_STRING_CHARACTERS:,} characters", _REMEDY)
    if "\x00" in value:
        raise PayloadRefused(f"payload field {path}", "holds a NUL character", "Leave it out.")
    if _SECRET_VALUE.search(value):
        raise PayloadRefused(f"payload field {path}", "looks like a secret", _REMEDY)


def _fields(value: object, path: str, depth: int) -> Iterator[tuple[str, str, object, int]]:
    """Yields path, name, value and depth of every field and list element."""
    if depth > MAX_DEPTH + 1:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str) or "\x00" in name:
                raise PayloadRefused(f"payload field {path or '(top)'}", "has an unusable name", "Use text names.")
            inner_path = f"{path}.{name}" if path else name
            yield inner_path, name, inner, depth
            yield from _fields(inner, inner_path, depth + 1)
    elif isinstance(value, (list, tuple)):
        for position, inner in enumerate(value):
            yield f"{path}[{position}]", "", inner, depth
            yield from _fields(inner, f"{path}[{position}]", depth + 1)
