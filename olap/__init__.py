"""The OLAP tier: DuckDB marts.

Belongs here: extraction, the landing zone, one SQL file per mart, roll-up, publishing, reconciliation, engines.
Does not belong here: bodies, queue internals, anything a mart does not need. Imports penguinmails.stack and no other tier.
"""
