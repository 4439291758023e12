"""The OLTP tier: PostgreSQL tables of a multi-tenant mail platform.

Belongs here: table definitions, SQL migrations by section, tenant isolation, connection pools, seeding, taking mail in.
Does not belong here: bodies beyond their hand-over, analytics, jobs. Imports penguinmails.stack and no other tier.
"""
