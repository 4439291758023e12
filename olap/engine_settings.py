"""The names under which the distributed engine is set. Belongs here: nothing else, so that the command starts fast."""

ENGINE_VARIABLE = "PENGUINMAILS_MARTS_ENGINE"
"""duckdb or spark."""
ADDRESS_VARIABLE = "PENGUINMAILS_SPARK_REMOTE"
"""Spark Connect server, `sc://host:port`."""
LANDING_VARIABLE = "PENGUINMAILS_SPARK_LANDING"
"""The bucket of the landing zone as the engine reaches it, such as `s3a://bucket`; unset, files are brought to this machine."""
