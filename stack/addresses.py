"""E-mail addresses as every tier compares them.

Belongs here: the one spelling that is stored, hashed and looked for. Does not belong here: parsing of headers (oltp).
"""

from __future__ import annotations

from penguinmails.stack.errors import InputError


def normal_address(text: str) -> str:
    """Returns an address without surrounding blanks and in lower case.

    Raises:
        InputError: that is no address. The error does not repeat it.
    """
    address = text.strip().lower()
    local, _, domain = address.rpartition("@")
    if not local or not domain or any(letter.isspace() for letter in address):
        raise InputError("address", "is none", "Give it as name@domain.")
    return address
