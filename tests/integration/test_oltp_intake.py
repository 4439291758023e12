"""Taking mail in: accounting, threads, events, idempotence."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from oltp_support import NOW, STATE, ListSource, clock, empty, items, mail, rows, shared_stores, stores

from penguinmails.oltp import intake
from penguinmails.oltp.doctor import examine
from penguinmails.oltp.intake import load_mail
from penguinmails.oltp.ledger import loaded_items, set_aside_bytes, set_aside_items
from penguinmails.oltp.mail_items import SourceItem
from penguinmails.oltp.statistics import table_statistics
from penguinmails.oltp.synthetic import synthetic_source
from penguinmails.stack.stores import Stores

__all__ = ["rows", "shared_stores", "stores"]

Rows = Callable[..., list[tuple[object, ...]]]


def test_every_original_is_kept_bit_for_bit(stores: Stores, rows: Rows) -> None:
    source = synthetic_source(messages=120)
    report = load_mail(stores, source, clock=clock)
    wanted = {item.name: hashlib.sha256(item.raw or b"").hexdigest() for item in source.items()}
    assert report.read == report.loaded == len(wanted)
    assert {item.item_name: item.sha256 for item in loaded_items(stores)} == wanted
    stored = rows("SELECT encode(sha256(raw_message), 'hex') FROM email_message_bodies")
    assert Counter(digest for (digest,) in stored) == Counter(wanted.values())


def test_loading_again_changes_nothing(stores: Stores, rows: Rows) -> None:
    source = synthetic_source(messages=120)
    load_mail(stores, source, clock=clock)
    before = sorted(rows(STATE), key=str)
    again = load_mail(stores, source, clock=clock)
    assert again.loaded == 0
    assert again.already_there == again.read
    assert sorted(rows(STATE), key=str) == before


def test_two_loads_at_once_load_once(stores: Stores, rows: Rows) -> None:
    source = synthetic_source(messages=300)
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: load_mail(stores, source, clock=clock), range(2)))
    assert sum(report.loaded for report in reports) == reports[0].read
    assert rows("SELECT count(*) FROM email_messages") == [(reports[0].read,)]


def test_borders_of_batches_leave_no_trace(stores: Stores, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    source = synthetic_source(messages=150)
    load_mail(stores, source, clock=clock)
    in_one_piece = sorted(rows(STATE), key=str)
    for size in (1, 7):
        empty(stores)
        monkeypatch.setattr(intake, "MAX_BATCH_MESSAGES", size)
        load_mail(stores, source, clock=clock)
        assert sorted(rows(STATE), key=str) == in_one_piece


def test_an_answer_is_inbound_and_marks_what_it_answers(stores: Stores, rows: Rows) -> None:
    question = mail(1)
    answer = mail(2, sender="lead@example.com", to="ada@sender.example", In_Reply_To="<1@sender.example>")
    load_mail(stores, ListSource(items(question, answer)), clock=clock)
    assert rows("SELECT direction, status, replied IS NOT NULL FROM email_messages ORDER BY id") == [
        ("outbound", "sent", True),
        ("inbound", "received", False),
    ]
    assert rows("SELECT event_type FROM email_events ORDER BY occurred_at") == [("sent",), ("replied",)]
    assert rows("SELECT email FROM email_accounts") == [("ada@sender.example",)]
    assert rows("SELECT email FROM leads") == [("lead@example.com",)]
    assert rows("SELECT count(DISTINCT lead_id) FROM email_messages") == [(1,)]


def test_an_answer_that_comes_first_is_linked_later(stores: Stores, rows: Rows) -> None:
    answer = mail(2, sender="lead@example.com", to="ada@sender.example", References="<0@x.example> <1@sender.example>")
    load_mail(stores, ListSource(items(answer)), clock=clock)
    load_mail(stores, ListSource(items(mail(1)), "later"), clock=clock)
    assert rows("""
        SELECT parents.subject
        FROM email_messages AS answers
        JOIN email_messages AS parents ON parents.id = answers.parent_message_id
        WHERE answers.subject = 'Message 2'
    """) == [("Message 1",)]


def test_a_bounce_marks_message_and_lead(stores: Stores, rows: Rows) -> None:
    report = mail(
        2,
        sender="MAILER-DAEMON@mx.example.com",
        to="ada@sender.example",
        body="--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.com\r\n\r\n"
        "Final-Recipient: rfc822; lead@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
        "--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <1@sender.example>\r\n--b--",
        Content_Type='multipart/report; report-type=delivery-status; boundary="b"',
    )
    load_mail(stores, ListSource(items(mail(1), report)), clock=clock)
    assert rows("SELECT message_type, status, bounce_type FROM email_messages ORDER BY id") == [
        ("email", "bounced", "hard"),
        ("bounce", "received", None),
    ]
    assert rows("SELECT status FROM leads") == [("bounced",)]


def test_what_is_no_mail_is_set_aside_with_its_bytes(stores: Stores) -> None:
    rubbish = [b"", b"\n\n", b"\x00\x01\x02 nothing", b"just words without any header\n"]
    report = load_mail(
        stores, ListSource([*items(*rubbish, mail(5)), SourceItem("x", b"abc", "truncated")]), clock=clock
    )
    assert (report.read, report.loaded, report.set_aside) == (6, 1, 5)
    assert report.reasons == {"empty": 2, "no_headers": 2, "truncated": 1}
    kept = {item.item_name: set_aside_bytes(stores, item.id) for item in set_aside_items(stores)}
    assert kept == {**{f"{number:04d}": raw for number, raw in enumerate(rubbish)}, "x": b"abc"}


def test_the_same_bytes_become_one_message(stores: Stores, rows: Rows) -> None:
    report = load_mail(stores, ListSource(items(mail(1), mail(1))), clock=clock)
    other = load_mail(stores, ListSource(items(mail(1)), "another"), clock=clock)
    assert (report.loaded, report.duplicates, other.duplicates) == (1, 1, 1)
    assert rows("SELECT count(*), count(DISTINCT message_id) FROM mail_intake") == [(3, 1)]


def test_the_doctor_is_content_and_tables_are_counted(stores: Stores) -> None:
    load_mail(stores, ListSource(items(mail(1))), clock=clock)
    assert [finding for finding in examine(stores) if not finding.ok] == []
    figures = {table.table: table for table in table_statistics(stores)}
    assert figures["email_messages"].rows == 1
    assert all(table.row_security for table in figures.values())
    assert figures["email_events"].oldest_partition == "2026_01"
    assert NOW.year == 2026


def test_a_young_database_is_analyzed_while_it_is_filled(stores: Stores, rows: Rows) -> None:
    """Nobody waits a minute for autovacuum with look-ups that read all of a tenant."""
    analyzed = (
        "SELECT relname::text, reltuples::integer FROM pg_class WHERE relname IN ('mail_intake', 'leads') ORDER BY 1"
    )
    with psycopg.connect(stores.oltp_url.get_secret_value()) as connection:
        connection.execute(
            "TRUNCATE tenants CASCADE"
        )  # statistics of other tests' rows go with the files, not with the rows
    assert [count for _, count in rows(analyzed)] == [-1, -1]
    load_mail(stores, synthetic_source(messages=600), clock=clock)
    assert all(isinstance(count, int) and count > 0 for _, count in rows(analyzed))


READ = """
    SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables
    WHERE relname IN ('mail_intake', 'leads')
"""
OTHER_TENANTS = (
    "INSERT INTO tenants (id, name) SELECT app.uuidv7(), 'other' FROM generate_series(1, 200)",
    """
    INSERT INTO leads (tenant_id, email)
    SELECT id, number || '@elsewhere.example' FROM tenants, generate_series(1, 10) AS number
    """,
    """
    INSERT INTO mail_intake (tenant_id, source_name, item_name, raw_sha256, raw_size_bytes, outcome, message_id, thread_headers)
    SELECT
        id, 'list', 'other ' || number, sha256(convert_to('other ' || number, 'UTF8')), 1, 'loaded', app.uuidv7(),
        ARRAY['<other' || number || '@elsewhere.example>']
    FROM tenants, generate_series(1, 10) AS number
    """,
    "ANALYZE",
)
GROWTH = (
    """
    INSERT INTO leads (tenant_id, email)
    SELECT tenant_id, 'new' || number || '@elsewhere.example' FROM known, generate_series(1, 20000) AS number
    """,
    """
    INSERT INTO mail_intake (tenant_id, source_name, item_name, raw_sha256, raw_size_bytes, outcome, message_id, thread_headers)
    SELECT
        tenant_id, 'list', 'new ' || number, sha256(convert_to('new ' || number, 'UTF8')), 1, 'loaded', app.uuidv7(),
        ARRAY['<new' || number || '@elsewhere.example>']
    FROM known, generate_series(1, 20000) AS number
    """,
)


def test_a_batch_reads_little_of_a_tenant_that_has_grown(stores: Stores, rows: Rows) -> None:
    """PostgreSQL's statistics know the tenant as small."""
    load_mail(stores, ListSource(items(*[mail(number) for number in range(20)])), clock=clock)
    with psycopg.connect(stores.oltp_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE known AS SELECT DISTINCT tenant_id FROM mail_intake")
        for statement in OTHER_TENANTS + GROWTH:
            connection.execute(statement)
    [(before,)] = rows(READ)
    answers = [mail(number, In_Reply_To=f"<{number - 20}@sender.example>") for number in range(20, 40)]
    assert load_mail(stores, ListSource(items(*answers)), clock=clock).loaded == 20
    [(after,)] = rows(READ)
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert after - before < 1_000
    assert rows("SELECT count(*) FROM email_messages WHERE parent_message_id IS NOT NULL") == [(20,)]
