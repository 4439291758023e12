"""The fast lane: everything this tier does in Redis.

Belongs here: keys, messages, Lua calls, and whether this Redis may be trusted. Does not belong here: any decision about a
job; nothing in Redis is ever taken for the truth.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast
from uuid import NAMESPACE_OID, UUID, uuid5

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from penguinmails.queue.errors import FastLaneUnavailable, FastLaneUnsafe
from penguinmails.queue.queues import Band, band_of
from penguinmails.stack.stores import Stores

EPOCH_KEY = "queue:epoch"
DEAD_LETTER_LIST = "deadletter:queue"
_DEAD_LETTER_SECONDS = 7 * 24 * 3600
MOST_DEAD_LETTERS = 10_000
"""The mirror keeps the newest; PostgreSQL has all."""
_HANDED_OFF_SECONDS = 24 * 3600
_ENDED_SECONDS = 60
"""At 10,000 jobs a second five minutes of notes would fill 512 MB."""
_FOLDER = Path(__file__).parent / "lua"
_FOREIGN = "the message names no job and generation (gen): jobs are enqueued by an INSERT into jobs, see docs/queue.md"
_SHOWN = 2_000
_PUSH_BATCH = 1_000
"""Messages; Lua refuses calls with more than about 7,000 arguments."""


@dataclass(frozen=True, order=True)
class Ticket:
    """What a message is worth: a job at one generation. An older or newer row makes it waste paper."""

    id: UUID
    gen: int


@dataclass(frozen=True)
class HandOff:
    """A job claimed for Redis, with the message that workers of every language read."""

    ticket: Ticket
    queue_name: str
    priority: int
    message: str
    attempt_count: int
    """How often it has been tried before."""
    ready_seconds: float
    """How long it had been ready when it was claimed."""


@dataclass(frozen=True)
class Place:
    """Where in Redis a ticket is: in its lane, reserved by a worker, or (neither) nowhere."""

    messages_ahead: int | None = None
    worker_id: UUID | None = None


@dataclass(frozen=True)
class FastLaneState:
    """What Redis says about itself and the queue.

    Args:
        depths: messages a lane.
        reserved_messages: reserved by workers and not started yet.
        evicted_keys: must stay 0 for ever: an evicted key may be a hand-off.
    """

    depths: dict[tuple[str, Band], int]
    reserved_messages: int
    memory_bytes: int
    memory_limit_bytes: int
    evicted_keys: int
    dead_letters: int
    policy: str
    keeps_on_disk: bool
    version: str

    @property
    def is_safe(self) -> bool:
        """Whether it keeps what it is given."""
        return self.policy == "noeviction" and self.keeps_on_disk


class FastLane:
    """A client of the queue's Redis. Not shared between processes."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._push = self._script("push")
        self._reserve = self._script("reserve")
        self._note = self._script("note")
        self._bury = self._script("bury")
        self._exhume = self._script("exhume")

    @classmethod
    def open(cls, stores: Stores) -> FastLane:
        """Returns a client; connects at first use. It gives up soon: there is a way around Redis."""
        return cls(
            redis.Redis.from_url(
                stores.redis_url.get_secret_value(),
                socket_timeout=10,
                socket_connect_timeout=2,
                retry=Retry(NoBackoff(), 1),  # the library's own waits for seconds; a doubled message does no harm
            )
        )

    def close(self) -> None:
        self.client.close()

    def require_safe(self) -> None:
        """Makes sure that this Redis keeps what it is given.

        Raises:
            FastLaneUnsafe: it evicts keys, or forgets everything at a restart.
            FastLaneUnavailable: it does not answer.
        """
        with _typed_errors():
            information = self.client.info()
            if information.get("loading"):  # until its files are read, it says that it keeps none
                raise redis.BusyLoadingError
        policy = information.get("maxmemory_policy")
        if policy != "noeviction":
            raise FastLaneUnsafe(
                "Redis setting maxmemory-policy", f"is {policy}: it would drop jobs", "Set it to noeviction."
            )
        if not information.get("aof_enabled"):
            raise FastLaneUnsafe("Redis setting appendonly", "is off: a restart would drop jobs", "Set it to yes.")

    def depths(self, queue_names: Sequence[str]) -> dict[tuple[str, Band], int]:
        """Returns how many messages each lane has."""
        lanes = [(name, band) for name in queue_names for band in Band]
        with _typed_errors():
            pipeline = self.client.pipeline(transaction=False)
            for name, band in lanes:
                pipeline.llen(list_key(name, band))
            return dict(zip(lanes, cast("list[int]", pipeline.execute()), strict=True))

    def state(self, queue_names: Sequence[str], worker_ids: Sequence[str]) -> FastLaneState:
        """Returns the state of Redis, read in one transaction."""
        lanes = [(name, band) for name in queue_names for band in Band]
        with _typed_errors():
            pipeline = self.client.pipeline(transaction=True)
            for name, band in lanes:
                pipeline.llen(list_key(name, band))
            for worker_id in worker_ids:
                pipeline.llen(processing_key(worker_id))
            pipeline.llen(DEAD_LETTER_LIST)
            *lengths, dead_letters = cast("list[int]", pipeline.execute())
            information = self.client.info()
        return FastLaneState(
            depths=dict(zip(lanes, lengths, strict=False)),
            reserved_messages=sum(lengths[len(lanes) :]),
            memory_bytes=int(information.get("used_memory", 0)),
            memory_limit_bytes=int(information.get("maxmemory", 0)),
            evicted_keys=int(information.get("evicted_keys", 0)),
            dead_letters=dead_letters,
            policy=str(information.get("maxmemory_policy", "unknown")),
            keeps_on_disk=bool(information.get("aof_enabled")),
            version=str(information.get("valkey_version") or information.get("redis_version", "unknown")),
        )

    def push(self, hand_offs: Sequence[HandOff]) -> None:
        """Puts claimed jobs into their lanes, soonest first. Only after their claim was committed."""
        for start in range(0, len(hand_offs), _PUSH_BATCH):
            lanes: dict[str, list[HandOff]] = {}
            for job in hand_offs[start : start + _PUSH_BATCH]:
                lanes.setdefault(list_key(job.queue_name, band_of(job.priority)), []).append(job)
            arguments: list[str | int] = [_HANDED_OFF_SECONDS, *map(len, lanes.values())]
            for jobs in lanes.values():
                for job in jobs:
                    arguments += [str(job.ticket.id), job.ticket.gen, job.attempt_count, job.message]
            with _typed_errors():
                self._push(keys=list(lanes), args=arguments)

    def reserve(self, worker_id: UUID, queue_names: Sequence[str], most: int) -> list[bytes]:
        """Takes up to `most` messages for a worker: the high band of every queue first."""
        lists = [list_key(name, band) for band in Band for name in queue_names]
        with _typed_errors():
            return cast("list[bytes]", self._reserve(keys=[processing_key(worker_id), *lists], args=[most]))

    def clear_reserved(self, worker_id: UUID) -> None:
        """Empties a worker's list: what was in it has been started, or will be missed by the reconciler."""
        with _typed_errors():
            self.client.delete(processing_key(worker_id))

    def note_started(self, worker_id: UUID, job_ids: Iterable[UUID]) -> None:
        """Notes jobs as running."""
        self._note_status("running", _HANDED_OFF_SECONDS, job_ids, worker_id=worker_id)

    def note_ended(self, status: str, job_ids: Iterable[UUID]) -> None:
        """Notes how jobs ended; the note is gone after a minute."""
        self._note_status(status, _ENDED_SECONDS, job_ids)

    def bury(self, letters: Iterable[tuple[UUID, str]]) -> int:
        """Mirrors dead letters (job id and JSON, the oldest first) for 7 days; returns how many were not there yet."""
        added = 0
        rest = iter(letters)
        while batch := list(islice(rest, _PUSH_BATCH)):
            arguments = [str(_DEAD_LETTER_SECONDS), str(MOST_DEAD_LETTERS)]
            for job_id, letter in batch:
                arguments += [str(job_id), letter]
            with _typed_errors():
                added += int(cast("int", self._bury(keys=[DEAD_LETTER_LIST], args=arguments)))
        return added

    def bury_foreign(self, messages: Iterable[bytes]) -> None:
        """Keeps messages that are none of a relay with the dead letters, for whoever put them there."""
        self.bury(
            (
                letter_id := uuid5(NAMESPACE_OID, message.decode("utf-8", "replace")),
                orjson.dumps(
                    {"id": str(letter_id), "error": _FOREIGN, "message": message.decode("utf-8", "replace")[:_SHOWN]}
                ).decode(),
            )
            for message in messages
        )

    def exhume(self, job_ids: Iterable[UUID]) -> None:
        """Takes the letters of jobs that are replayed out of the mirror."""
        rest = iter(job_ids)
        while batch := list(islice(rest, _PUSH_BATCH)):
            with _typed_errors():
                self._exhume(keys=[DEAD_LETTER_LIST], args=[_DEAD_LETTER_SECONDS, *map(str, batch)])

    def tickets_in_lanes(self, queue_names: Iterable[str]) -> set[Ticket]:
        """Returns what is in the lanes now. Bounded: a lane holds no more than its high water and a batch."""
        return self._tickets(list_key(name, band) for name in queue_names for band in Band)

    def tickets_reserved(self, worker_ids: Iterable[UUID]) -> set[Ticket]:
        """Returns what workers have reserved and not started."""
        return self._tickets(processing_key(worker_id) for worker_id in worker_ids)

    def place_of(self, ticket: Ticket, queue_name: str, band: Band, worker_ids: Iterable[UUID]) -> Place:
        """Returns where a ticket is; looks where it comes from before where it goes to."""
        with _typed_errors():
            lane = cast("list[bytes]", self.client.lrange(list_key(queue_name, band), 0, -1))
        for position, message in enumerate(reversed(lane)):
            if read_ticket(message) == ticket:
                return Place(messages_ahead=position)
        holders = (each for each in worker_ids if ticket in self.tickets_reserved([each]))
        return Place(worker_id=next(holders, None))

    def epoch(self) -> str:
        """Returns what changes when this Redis is another one, was restarted, failed over or flushed."""
        with _typed_errors():
            server = self.client.info("server")
            replication = self.client.info("replication")
            mark = cast("bytes | None", self.client.get(EPOCH_KEY))
        return f"{server.get('run_id')}/{replication.get('master_replid')}/{mark.decode() if mark else 'none'}"

    def begin_epoch(self) -> None:
        """Leaves a mark that a flush takes away; one that is there stays."""
        with _typed_errors():
            self.client.set(EPOCH_KEY, secrets.token_hex(8), nx=True)

    def _note_status(self, status: str, seconds: int, job_ids: Iterable[UUID], *, worker_id: UUID | str = "") -> None:
        with _typed_errors():
            self._note(args=[status, seconds, str(worker_id), *map(str, job_ids)])

    def _tickets(self, keys: Iterable[str]) -> set[Ticket]:
        tickets: set[Ticket] = set()
        with _typed_errors():
            for key in keys:
                for message in cast("list[bytes]", self.client.lrange(key, 0, -1)):
                    ticket = read_ticket(message)
                    if ticket is not None:
                        tickets.add(ticket)
        return tickets

    def _script(self, name: str) -> Any:
        return self.client.register_script((_FOLDER / f"{name}.lua").read_text(encoding="utf-8"))


def list_key(queue_name: str, band: Band) -> str:
    """Returns the Redis list of a lane."""
    return f"queue:{queue_name}" if band is Band.NORMAL else f"queue:{queue_name}:{band}"


def wake_key(queue_name: str) -> str:
    """Returns the Redis list in which a token tells one waiting worker of a queue that jobs were handed over."""
    return f"wake:{queue_name}"


def processing_key(worker_id: UUID | str) -> str:
    """Returns the Redis list of what a worker has reserved and not started."""
    return f"processing:{worker_id}"


def read_ticket(message: bytes) -> Ticket | None:
    """Returns what a message is worth; None for a foreign one that names no job and generation."""
    try:
        document = orjson.loads(message)
        if isinstance(document["gen"], bool) or not isinstance(document["gen"], int):
            return None
        return Ticket(UUID(document["id"]), document["gen"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None


@contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise FastLaneUnavailable(
            "Redis of the queue",
            f"does not do its part ({type(error).__name__})",
            "Start it (penguinmails up) or check PENGUINMAILS_REDIS_URL; jobs go through PostgreSQL meanwhile.",
        ) from error
