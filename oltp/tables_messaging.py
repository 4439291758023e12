"""Declarations of the section messaging: what each table and column means.

The DDL is in migrations/0007_messaging.sql; schema.differences() compares the two.
"""

from __future__ import annotations

from penguinmails.oltp.table_model import (
    CREATED,
    ID,
    TENANT_ID,
    UPDATED,
    Column,
    Isolation,
    PersonalData,
    Section,
    Table,
)

EMAIL_MESSAGES = Table(
    "email_messages",
    section=Section.MESSAGING,
    meaning="A message: its metadata, never its body.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("campaign_sequence_steps", "campaigns", "companies", "email_accounts", "leads", "tenants"),
    partitioned_by="id",
    columns=(
        TENANT_ID,
        Column("id", "uuid", "Identity of the message; its first 48 bits are the time of the message.", required=True),
        Column("company_id", "uuid", "Workspace the message belongs to.", required=True),
        Column("email_account_id", "uuid", "Mailbox that sent or received the message.", required=True),
        Column("campaign_id", "uuid", "Campaign the message was sent for."),
        Column("campaign_sequence_step_id", "uuid", "Step the message was sent by."),
        Column("lead_id", "uuid", "The other party."),
        Column(
            "parent_message_id",
            "uuid",
            "Message this one answers or follows; no foreign key, because old months are dropped whole.",
        ),
        Column("direction", "varchar(20)", "inbound or outbound.", required=True),
        Column("message_type", "varchar(20)", "email, bounce, auto_reply or warmup.", required=True),
        Column("message_id_header", "varchar(998)", "Message-ID as it stands in the message."),
        Column(
            "from_email",
            "varchar(254)",
            "Sender's address, lower case; empty when the message names none that can be used.",
            personal=PersonalData.CONTACT,
        ),
        Column(
            "to_email",
            "varchar(254)",
            "First recipient's address, lower case; empty when the message names none that can be used.",
            personal=PersonalData.CONTACT,
        ),
        Column(
            "subject",
            "varchar(500)",
            "Subject, decoded; cut at 500 characters.",
            personal=PersonalData.CONTENT,
        ),
        Column(
            "status",
            "varchar(50)",
            "queued, sent, delivered, deferred, bounced, failed or received.",
            required=True,
        ),
        Column(
            "content_storage_key",
            "varchar(500)",
            "Where the content tier keeps the body; empty until it has it. Opaque.",
        ),
        Column("raw_size_bytes", "bigint", "Size of the original message.", unit="bytes", required=True),
        Column("sent", "timestamptz", "When it was first sent; set once."),
        Column("delivered", "timestamptz", "When it was first delivered; set once."),
        Column("opened", "timestamptz", "When it was first opened; set once."),
        Column("clicked", "timestamptz", "When a link in it was first clicked; set once."),
        Column("replied", "timestamptz", "When it was first answered; set once."),
        Column("bounced", "timestamptz", "When it first bounced; set once."),
        Column("unsubscribed", "timestamptz", "When the recipient unsubscribed through it; set once."),
        Column("complained", "timestamptz", "When the recipient first complained about it; set once."),
        Column("bounce_type", "varchar(10)", "hard or soft."),
        Column(
            "xid",
            "xid8",
            "Transaction that last wrote the row, but for its storage key: what changed since a snapshot is found by it.",
            required=True,
        ),
        CREATED,
        UPDATED,
    ),
)

EMAIL_MESSAGE_BODIES = Table(
    "email_message_bodies",
    section=Section.MESSAGING,
    meaning="An original message that the content tier has not taken over yet.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "message_id"),
    references=("email_messages", "tenants"),
    columns=(
        TENANT_ID,
        Column("message_id", "uuid", "Message whose body this is.", required=True),
        Column(
            "raw_message",
            "bytea",
            "The original message (RFC 822), bit for bit; all parts are read from it.",
            required=True,
            personal=PersonalData.CONTENT,
        ),
        Column(
            "stored_at",
            "timestamptz",
            "When the content tier was seen to have the body; it is removed here some time after.",
        ),
        CREATED,
    ),
)

EMAIL_MESSAGE_BODY_CLAIMS = Table(
    "email_message_body_claims",
    section=Section.MESSAGING,
    meaning="Waiting bodies that a hand-over is taking now: a stretch of one tenant's, in order of coming in.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "first_created", "first_message_id"),
    references=("tenants",),
    columns=(
        TENANT_ID,
        Column("claimed_by", "uuid", "The claim's owner, who holds a lock as long as it lives.", required=True),
        Column("first_created", "timestamptz", "When the first of the bodies came in.", required=True),
        Column("first_message_id", "uuid", "Message of the first of the bodies.", required=True),
        Column("last_created", "timestamptz", "When the last of the bodies came in.", required=True),
        Column("last_message_id", "uuid", "Message of the last of the bodies.", required=True),
        Column("messages", "integer", "How many bodies there were when they were claimed.", required=True),
        CREATED,
    ),
)

EMAIL_EVENTS = Table(
    "email_events",
    section=Section.MESSAGING,
    meaning="Something that happened to a message.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "occurred_at", "id"),
    partitioned_by="occurred_at",
    columns=(
        TENANT_ID,
        Column("id", "uuid", "Identity of the event.", required=True),
        Column("message_id", "uuid", "Message it happened to.", required=True),
        Column("campaign_id", "uuid", "Campaign of the message."),
        Column("campaign_sequence_step_id", "uuid", "Step of the message."),
        Column("email_account_id", "uuid", "Mailbox of the message."),
        Column("lead_id", "uuid", "Lead who received it."),
        Column(
            "event_type",
            "varchar(20)",
            "sent, delivered, opened, clicked, replied, bounced, unsubscribed or complained.",
            required=True,
        ),
        Column("occurred_at", "timestamptz", "When it happened.", required=True),
        Column("ingested_at", "timestamptz", "When this database learnt of it.", required=True),
        Column(
            "xid", "xid8", "Transaction that wrote the row: what is new since a snapshot is found by it.", required=True
        ),
        Column(
            "payload", "jsonb", "Small particulars: link, user agent, bounce code.", personal=PersonalData.TECHNICAL
        ),
    ),
)

MAIL_INTAKE = Table(
    "mail_intake",
    section=Section.MESSAGING,
    meaning="An item of a mail source and what became of it.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("tenants",),
    columns=(
        TENANT_ID,
        ID,
        Column(
            "source_name",
            "text",
            "Name of the source the item came from (file name of an archive, for example).",
            required=True,
        ),
        Column("item_name", "text", "Name of the item within its source.", required=True),
        Column("raw_sha256", "bytea", "SHA-256 of the item's bytes.", required=True),
        Column("raw_size_bytes", "bigint", "Size of the item.", unit="bytes", required=True),
        Column(
            "outcome",
            "varchar(20)",
            "loaded, duplicate (the same bytes were loaded before) or set_aside.",
            required=True,
        ),
        Column("reason", "varchar(50)", "Why the item was set aside, as a code."),
        Column("message_id", "uuid", "Message the item became."),
        Column(
            "thread_headers",
            "text[]",
            "Message-IDs the item answers, nearest first; links answers that come before what they answer.",
        ),
        Column("raw_message", "bytea", "Bytes of an item that was set aside.", personal=PersonalData.CONTENT),
        CREATED,
    ),
)

ADMIN_AUDIT_EVENTS = Table(
    "admin_audit_events",
    section=Section.MESSAGING,
    meaning="A high-risk administrative action.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    partitioned_by="id",
    columns=(
        TENANT_ID,
        Column("id", "uuid", "Identity of the event; its first 48 bits are its time.", required=True),
        Column("actor_user_id", "uuid", "User who acted; empty for the platform itself."),
        Column("action", "varchar(100)", "What was done, for example role_changed.", required=True),
        Column(
            "category",
            "varchar(50)",
            "role, billing, configuration, export, impersonation or deletion.",
            required=True,
        ),
        Column("resource_type", "varchar(63)", "Kind of thing that was acted on: a table's name."),
        Column("resource_id", "text", "Key of the thing that was acted on."),
        Column("old_values", "jsonb", "Values before.", personal=PersonalData.TECHNICAL),
        Column("new_values", "jsonb", "Values after.", personal=PersonalData.TECHNICAL),
        Column("ip_address", "inet", "Address the actor came from.", personal=PersonalData.TECHNICAL),
        Column("user_agent", "text", "Client of the actor.", personal=PersonalData.TECHNICAL),
        Column("notes", "text", "What the actor said about it."),
        Column("metadata", "jsonb", "Further particulars."),
        Column(
            "data_classification",
            "varchar(20)",
            "public, internal, confidential or restricted.",
            required=True,
        ),
        Column("retention_category", "varchar(20)", "standard, extended or legal.", required=True),
        Column("occurred_at", "timestamptz", "When it happened.", required=True),
        Column(
            "xid", "xid8", "Transaction that wrote the row: what is new since a snapshot is found by it.", required=True
        ),
    ),
)

SECTION_TABLES = (
    EMAIL_MESSAGES,
    EMAIL_MESSAGE_BODIES,
    EMAIL_MESSAGE_BODY_CLAIMS,
    EMAIL_EVENTS,
    MAIL_INTAKE,
    ADMIN_AUDIT_EVENTS,
)
