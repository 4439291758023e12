"""Everything Dagster, and what joins the tiers.

Belongs here: definitions, resources, partitions, automation, jobs, alerts, assets and checks (one file per tier in each),
and the `penguinmails run` command. Does not belong here: SQL and logic of a store; those live in the folder of their
tier. Nothing else in the project imports dagster.
"""
