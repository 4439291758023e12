"""Looking at every store and saying what is wrong and what to do.

Belongs here: what can be asked of any store without knowing its tier. Does not belong here: a tier's own questions; each
tier answers them in `<tier>/doctor.py`, named in pyproject.toml under `penguinmails.doctor`.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator

import psycopg
import redis
from pydantic import SecretStr

from penguinmails.stack.console import size
from penguinmails.stack.errors import PlatformError, ServerError
from penguinmails.stack.findings import Finding
from penguinmails.stack.migrations import Schema, SchemaState
from penguinmails.stack.ports import contributions
from penguinmails.stack.stores import Stores

LEAST_FREE_BYTES = 2 * 1024**3
"""Below this much free disk the embedded servers are at risk of stopping in the middle of a write."""
OLDEST_POSTGRES = 15
_CONNECT_SECONDS = 5


def examine(stores: Stores) -> Iterator[Finding]:
    """Yields one finding a question, about the machine first, then about each store, then what the tiers ask."""
    yield _free_disk(stores)
    yield from _credentials(stores)
    for tier in ("oltp", "content", "queue", "dagster"):
        yield _postgres(f"PostgreSQL of {tier}", getattr(stores, f"{tier}_url"))
    yield _redis(stores)
    yield _object_store(stores)
    schemas = contributions("penguinmails.schemas")
    for tier, entry in contributions("penguinmails.doctor").items():
        schema = _schema(schemas[tier].load(), stores) if tier in schemas else None
        if schema is not None:
            yield schema
        if schema is None or schema.ok:
            yield from _of_a_tier(tier, entry.load(), stores)


def _free_disk(stores: Stores) -> Finding:
    free = shutil.disk_usage(stores.home).free
    ok = free >= LEAST_FREE_BYTES
    remedy = "" if ok else "Free some space, or move the data with PENGUINMAILS_HOME."
    return Finding("free disk", ok, f"{size(free)} free at {stores.home}", remedy)


def _credentials(stores: Stores) -> Iterator[Finding]:
    path = stores.home / "credentials.json"
    if path.exists():
        mode = path.stat().st_mode & 0o777
        remedy = "" if mode == 0o600 else f"chmod 600 {path}; then 'make stop', delete it with the data, start again."
        yield Finding("credentials file", mode == 0o600, f"mode {mode:04o}", remedy)


def _postgres(name: str, url: SecretStr) -> Finding:
    try:
        with psycopg.connect(url.get_secret_value(), connect_timeout=_CONNECT_SECONDS) as connection:
            version = connection.info.server_version // 10_000
    except psycopg.OperationalError as error:
        return Finding(
            name,
            ok=False,
            detail=f"not reachable ({_first_line(error)})",
            remedy="Start it (penguinmails up), or correct the PENGUINMAILS_*_URL of this tier.",
        )
    ok = version >= OLDEST_POSTGRES
    return Finding(name, ok, f"version {version}", "" if ok else f"Use PostgreSQL {OLDEST_POSTGRES} or newer.")


def _redis(stores: Stores) -> Finding:
    client = stores.open_redis()
    try:
        about = client.info()
        policy = str(client.config_get("maxmemory-policy").get("maxmemory-policy"))
        kept = about.get("aof_enabled") == 1
    except redis.RedisError as error:
        return Finding(
            "Redis of queue",
            ok=False,
            detail=f"not reachable ({type(error).__name__})",
            remedy="Start it (penguinmails up), or correct PENGUINMAILS_REDIS_URL.",
        )
    finally:
        client.close()
    version = about.get("valkey_version") or about.get("redis_version")
    ok = policy == "noeviction" and kept
    remedy = "" if ok else "Set maxmemory-policy noeviction and appendonly yes: anything else can lose hand-offs."
    return Finding("Redis of queue", ok, f"version {version}, {policy}, append-only {'on' if kept else 'off'}", remedy)


def _object_store(stores: Stores) -> Finding:
    """Writes, reads back and deletes a scratch object: a 200 alone proves nothing."""
    name, key, body = "object store", f"doctor/{uuid.uuid4()}", b"penguinmails doctor"
    try:
        bucket = stores.open_bucket()
        bucket.put(key, body)
        same = bucket.get_range(key, 0, len(body)) == body
        bucket.delete([key])
        gone = bucket.size_bytes(key) is None
    except PlatformError as error:
        return Finding(name, ok=False, detail=f"{error.problem}", remedy=error.remedy)
    ok = same and gone
    remedy = "" if ok else "This store does not give back what it took; use another."
    return Finding(name, ok, "writes, reads a range, deletes" if ok else "did not give back what was written", remedy)


def _schema(schema: Schema, stores: Stores) -> Finding | None:
    """Returns None where the database cannot be reached: that is said of its server already."""
    try:
        state = schema.state(stores)
    except ServerError:
        return None
    return Finding(f"schema of the {schema.name}", state is SchemaState.NEWEST, state.value, schema.remedy(state))


def _of_a_tier(tier: str, questions: Callable[[Stores], list[Finding]], stores: Stores) -> Iterator[Finding]:
    try:
        yield from questions(stores)
    except (PlatformError, psycopg.Error, redis.RedisError) as error:
        remedy = error.remedy if isinstance(error, PlatformError) else "Mend the store named above, then ask again."
        yield Finding(tier, ok=False, detail=f"could not be examined ({_first_line(error)})", remedy=remedy)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
