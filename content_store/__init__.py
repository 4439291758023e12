"""The content tier: message bodies and attachments in an object store.

Belongs here: codec, packs, dictionaries, keys, the index, hand-over, reading, retention, erasure, compaction.
Does not belong here: message metadata, analytics. Imports penguinmails.stack and no other tier; where bodies come from
is a port (`ports.py`).
"""
