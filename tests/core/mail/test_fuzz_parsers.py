"""What reads untrusted bytes refuses or reads them; it never raises anything else, nor hangs."""

# ruff: noqa: PT017 - what is raised need not be raised at all
from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mailhearth_core.content import InvalidContent, parse_library
from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.mail.classify import classify_imap, classify_smtp, clean_text
from mailhearth_core.mail.dsn import ACTIONS, read_dsn
from mailhearth_core.mail.headers import HeaderRecord, decode_text, header_record
from mailhearth_core.mail.model import Stage
from mailhearth_core.verbs.mailbox_spec import read_rows
from mailhearth_worker.wakeups.record import ForgedJob, WakeUp

SAMPLES = Path(__file__).with_name("samples")
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WHEN = datetime(2026, 3, 2, tzinfo=UTC)

FIELD = st.sampled_from(
    [
        b"Message-ID",
        b"From",
        b"To",
        b"Subject",
        b"Date",
        b"References",
        b"In-Reply-To",
        b"Auto-Submitted",
        b"Precedence",
        b"Content-Type",
        b"X-Google-Original-Message-ID",
        b"Content-Transfer-Encoding",
        b"Action",
        b"Status",
        b"Final-Recipient",
        b"MIME-Version",
    ]
)
PIECE = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"<a@b.test>",
            b"=?utf-8?q?=FF=FE?=",
            b"=?utf-8?b?!!!?=",
            b"=?x?b?",
            b"=?no-such?q?=41?=",
            b"=?utf-7?q?+AAA-?=",
            b"=?idna?q?xn--a?=",
            b"=?undefined?q?a?=",
            b"=?rot13?q?a?=",
            b"=?punycode?q?=FF?=",
            b"=?unicode_escape?q?=5CN?=",
            b"\x00",
            b"\xff\xfe",
            b"\r\n ",
            b"\r",
            b"\n",
            b"multipart/report; report-type=delivery-status; boundary=b",
            b'multipart/mixed; boundary="',
            b"message/delivery-status",
            b"message/rfc822",
            b"text/plain; charset*=x''%FF",
            b"rfc822; a@b.test",
            b"failed",
            b"5.1.1",
            b"--b",
            b"--b--",
            b"\r\n\r\n",
            b"(((",
            b'"',
            b"@" * 9,
            b"Mon, 99 Foo 99999 99:99:99 +9999",
            b"Mon, 2 Mar 2026 09:00:00 -2400",
            b"base64",
            b"x" * 1200,
        ]
    ),
)
VALUE = st.lists(PIECE, max_size=6).map(b"".join)
HEADERS = st.lists(st.tuples(FIELD, VALUE), max_size=8).map(
    lambda fields: b"".join(name + b": " + value + b"\r\n" for name, value in fields)
)
MESSAGE = st.one_of(
    st.binary(max_size=400),
    HEADERS,
    st.lists(st.one_of(HEADERS, VALUE, st.just(b"\r\n--b\r\n")), max_size=8).map(b"\r\n".join),
)


def read(raw: bytes) -> HeaderRecord:
    return header_record(raw, uid=1, internaldate=WHEN, flags=frozenset(), size=len(raw))


@MANY
@given(MESSAGE)
def test_headers_are_read_whatever_they_are(raw: bytes) -> None:
    record = read(raw)
    for text in (record.message_id, *record.references, record.subject, record.from_address):
        assert "\n" not in text and "\r" not in text  # noqa: PT018
    assert len(record.references) <= 100
    assert record.date is None or record.date.tzinfo is not None
    record.subject.encode(errors="surrogateescape")


@MANY
@given(MESSAGE)
def test_a_delivery_report_is_read_or_is_none(raw: bytes) -> None:
    for outcome in read_dsn(raw):
        assert outcome.action in ACTIONS


@MANY
@given(st.text(max_size=200))
def test_encoded_words_come_out_on_one_line(text: str) -> None:
    assert decode_text(text).splitlines() in ([], [decode_text(text)])


@MANY
@given(st.text(max_size=3000), st.integers(400, 599), st.sampled_from(list(Stage)))
def test_every_reply_has_a_meaning(text: str, code: int, stage: Stage) -> None:
    for verdict in (classify_smtp(code, text, stage), classify_imap(text, stage)):
        assert verdict.code
        assert verdict.words
    assert clean_text(text).isprintable()


@MANY
@given(st.text(max_size=600))
def test_a_library_is_read_or_refused(text: str) -> None:
    try:
        parse_library(text, "own/x")
    except InvalidContent as refused:
        assert refused.mistakes


LINE = st.lists(
    st.sampled_from(
        [
            "[thread]",
            "[words a]",
            "[words a: one, two]",
            "[greetings warm]",
            "[sign-offs warm]",
            "tone: warm",
            "subject: {a}",
            "opening: {a.one} {{",
            "reply: [x|y",
            "or: \\",
            "pick a, b:",
            "- a | b",
            "- {",
            "\x00",
            "]",
            "{sender}",
            "# x",
            "  ",
            "a: b: c",
            "[",
            "reply:",
            "|",
        ]
    ),
    max_size=14,
)


@MANY
@given(LINE)
def test_a_library_of_broken_parts_is_read_or_refused(lines: list[str]) -> None:
    try:
        parse_library("\n".join(lines), "own/x")
    except InvalidContent as refused:
        assert refused.mistakes


ROW = st.lists(
    st.sampled_from(
        [
            "a@b.test",
            "imap.b.test:993",
            "[::1]:1",
            ":",
            "x:99999999999",
            "implicit",
            "",
            " ",
            "\x00",
            '"',
            "a@b@c",
            "é@x.test",
            "yes",
            "Mars/Olympus",
            "UTC",
            "/etc/passwd",
            "\ud800",
            "x" * 300,
        ]
    ),
    max_size=9,
)


@MANY
@given(st.lists(ROW, max_size=4), st.booleans())
@example([["a@b.test", "imap.b.test:993", "smtp.b.test:465", "me", "\ud800", "", ""]], True)
def test_a_csv_is_read_row_by_row_or_refused(rows: list[list[str]], good_header: bool) -> None:
    header = ["address,imap,smtp,username,password,tls,timezone"] if good_header else []
    try:
        for row in read_rows([*header, *(",".join(row) for row in rows)]):
            assert (row.spec is None) != (row.error is None)
            assert row.error is None or isinstance(row.error, MailhearthError)
    except InvalidValue as refused:
        assert not good_header or refused.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=True),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
RECORD = st.dictionaries(
    st.sampled_from([b"data", b"origin", b"status", b"timeout", b"meta", b"callback", b"\xff"]),
    st.one_of(
        st.binary(max_size=60),
        JSON.map(lambda value: json.dumps(value).encode()),
        JSON.map(lambda value: zlib.compress(json.dumps(value).encode())),
        st.just(zlib.compress(b"[" * 100_000)),
        st.just(b"[" * 390),
    ),
    max_size=6,
)


@MANY
@given(RECORD, st.text("abc_-", max_size=12))
def test_a_wake_up_that_is_none_is_refused(fields: dict[bytes, bytes], name: str) -> None:
    job = WakeUp.__new__(WakeUp)
    job._id = f"local_drain_{UUID(int=0)}_{name}"
    with pytest.raises(ForgedJob):
        job.restore(fields)


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.eml")), ids=lambda path: path.stem)
def test_what_was_found_once_stays_mended(sample: Path) -> None:
    raw = sample.read_bytes()
    record = read(raw)
    assert "\n" not in record.message_id + record.subject
    assert all(outcome.action in ACTIONS for outcome in read_dsn(raw))


def test_fifty_megabytes_and_endless_nesting_cost_little() -> None:
    head = b"Message-ID: <big@x.test>\r\nSubject: big\r\n\r\n"
    started = datetime.now(UTC)
    assert read(head + b"x" * 50_000_000).message_id == "<big@x.test>"
    report = b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
    nested = b"".join(
        b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1)
        for n in range(3_000)
    )
    assert read_dsn(report.replace(b"boundary=b", b"boundary=b0") + nested) == []
    assert read_dsn(report + b"--b\r\n" * 100_000) == []
    assert read_dsn(report + b"x" * 50_000_000) == []
    assert (datetime.now(UTC) - started).total_seconds() < 60
