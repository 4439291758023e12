"""Handlers of `email:processing` (mail that arrived) and `bounce:process` (what a provider reports about mail that was sent).

A mail server leaves what it receives as an object `inbound-mail/<tenant>/<name>` in the bucket, as SES and others do by
themselves, and enqueues its name: a job holds no body. Taken in, the body waits in PostgreSQL for the content tier, and the
object is deleted.

Belongs here: that path. Does not belong here: what a message means (oltp/), bodies on their way to the content tier.
"""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from penguinmails.oltp import outbound_mail
from penguinmails.oltp.inbound_mail import UnknownMailbox, is_taken_in, take_in
from penguinmails.oltp.mail_sources import MAX_MESSAGE_BYTES
from penguinmails.queue.errors import PermanentFailure
from penguinmails.queue.handlers import Handler, JobContext
from penguinmails.stack.stores import Stores, resolve

PREFIX = "inbound-mail"


class ArrivedMessage(BaseModel):
    """Payload of `email:processing`: a message that arrived for a mailbox of the job's tenant.

    Args:
        object_name: the object is `inbound-mail/<tenant>/<object_name>`.
    """

    model_config = ConfigDict(extra="forbid")

    email_account_id: UUID
    object_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=-]{0,199}$")]


class ReportedBounce(BaseModel):
    """Payload of `bounce:process`: a message of the job's tenant that came back.

    Args:
        bounce_type: hard when it will never arrive.
        code: enhanced status code (RFC 3463), as far as it is known.
    """

    model_config = ConfigDict(extra="forbid")

    message_id: UUID
    bounce_type: Literal["hard", "soft"]
    occurred_at: AwareDatetime
    code: Annotated[str, Field(pattern=r"^([245]\.\d{1,3}\.\d{1,3}|\d{3})?$")] = ""


def object_key(tenant_id: UUID, object_name: str) -> str:
    """Where mail servers leave a message of a tenant."""
    return f"{PREFIX}/{tenant_id}/{object_name}"


def receive(payload: ArrivedMessage, context: JobContext) -> None:
    """Takes a message that arrived into the messaging tables, once, and deletes the object it came as.

    Raises:
        PermanentFailure: there is no such object or mailbox, or it is too large.
        ServerError: a store does not answer; the object stays.
    """
    stores, tenant_id = resolve(), _tenant(context)
    key = object_key(tenant_id, payload.object_name)
    bucket = stores.open_bucket()
    try:
        size_bytes = bucket.size_bytes(key)
        if size_bytes is None:
            _require_taken_in(stores, tenant_id, payload.object_name)
            return
        if size_bytes > MAX_MESSAGE_BYTES:
            raise PermanentFailure(
                f"object {key}", f"is {size_bytes:,} bytes of at most {MAX_MESSAGE_BYTES:,}", "Look at it by hand."
            )
        raw_message = bucket.get(key)
        context.assert_owned()
        take_in(stores, tenant_id, payload.email_account_id, item_name=payload.object_name, raw_message=raw_message)
        bucket.delete([key])
    except UnknownMailbox as error:
        raise PermanentFailure(error.thing, error.problem, error.remedy) from None
    finally:
        bucket.client.close()


def note_bounce(payload: ReportedBounce, context: JobContext) -> None:
    """Marks message and lead after a bounce, with its event; repeating it changes nothing.

    Raises:
        PermanentFailure: the tenant has no such outbound message.
        ServerError: the database does not answer; nothing was written.
    """
    stores, tenant_id = resolve(), _tenant(context)
    is_new = outbound_mail.record_bounced(
        stores,
        tenant_id,
        payload.message_id,
        payload.occurred_at,
        is_hard=payload.bounce_type == "hard",
        code=payload.code,
    )
    if not is_new and not outbound_mail.is_outbound(stores, tenant_id, payload.message_id):
        raise PermanentFailure(f"message {payload.message_id}", "is none that the tenant sent", "Correct the id.")


PROCESSING = Handler("email:processing", ArrivedMessage, receive)
BOUNCE = Handler("bounce:process", ReportedBounce, note_bounce)


def _require_taken_in(stores: Stores, tenant_id: UUID, object_name: str) -> None:
    """An object that is gone was taken in by an earlier run, or never was."""
    if not is_taken_in(stores, tenant_id, object_name):
        raise PermanentFailure(
            f"object {object_key(tenant_id, object_name)}", "is not there", "Have it delivered again, then replay."
        )


def _tenant(context: JobContext) -> UUID:
    if context.job.tenant_id is None:
        raise PermanentFailure("job", "names no tenant", "Enqueue it with its tenant.")
    return context.job.tenant_id
