"""Handlers of jobs that reach into more than one tier, and the ports they need.

Belongs here: joining tiers for one job, one file a matter. Does not belong here: Dagster (a worker's processes would import it),
handlers of one tier (they are in that tier), running jobs (queue/). Registered in pyproject.toml under
`penguinmails.queue_handlers`, each by the name of its queue.
"""
