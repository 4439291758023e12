"""Everything Dagster, and what joins the tiers.

Belongs here: definitions, resources, partitions, automation, jobs, alerts, assets and checks (one file per tier in each),
and the `penguinmails run` command. Does not belong here: SQL and logic of a store; those live in the folder of their
tier. Nothing else in the project imports dagster.
"""

from __future__ import annotations

import warnings

# The features used are the documented ones; Dagster still calls some of them beta.
warnings.filterwarnings("ignore", message=".* is currently in beta")
