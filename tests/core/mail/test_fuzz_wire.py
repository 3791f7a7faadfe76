"""Servers that answer with anything at all: one mail error, or an answer; never another failure."""

# ruff: noqa: PT017 - what is raised need not be raised at all
from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailhearth_core.mail.imap import HEADER_SLICE, ImapSession
from mailhearth_core.mail.model import MailError, OutcomeUnknown, Stage
from mailhearth_core.mail.smtp import SmtpSession
from overheard import imap_hearing, smtp_hearing

SAMPLES = Path(__file__).with_name("samples")
MANY = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])

Ask = Callable[[ImapSession], object]
QUESTIONS: dict[str, Ask] = {
    "folders": lambda imap: imap.folders(),
    "overview": lambda imap: imap.overview(["Junk"]),
    "examine": lambda imap: imap.examine("INBOX"),
    "status": lambda imap: imap.status("INBOX"),
    "headers": lambda imap: imap.headers(uids=[1, 2]),
    "new": lambda imap: imap.headers(first_uid=1),
    "since": lambda imap: imap.uids_since("INBOX", date(2026, 3, 2)),
    "find": lambda imap: imap.find_message_id("INBOX", "<a@b.test>"),
    "raw": lambda imap: imap.fetch_raw(1, 1000),
    "folder": lambda imap: imap.ensure_folder("Mailhearth"),
    "expunge": lambda imap: imap.expunge("INBOX", [1]),
}

PART = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            b"* ",
            b"TAG1 OK done\r\n",
            b"TAG2 OK [READ-ONLY] done\r\n",
            b"TAG3 OK done\r\n",
            b"TAG1 NO [",
            b"TAG1 BAD ",
            b"\r\n",
            b"+ \r\n",
            b"* BYE [ALERT] go\r\n",
            b"* SEARCH ",
            b"* SEARCH 1 2 x\r\n",
            b"* SEARCH 99999999999999999999\r\n",
            b"* SEARCH (MODSEQ 3) 1\r\n",
            b'* LIST () "/" INBOX\r\n',
            b"* LIST (\\Junk",
            b"* LIST () NIL {5}\r\nab",
            b'* LIST () "/" "&"\r\n',
            b'* LIST () "/" "&AAA"\r\n',
            b"* LIST (\\Noselect) {3}\r\na\xffb\r\n",
            b"* OK [UIDVALIDITY 1] x\r\n",
            b"* OK [UIDNEXT x]\r\n",
            b"* OK [UIDVALIDITY]\r\n",
            b"* OK [UIDNEXT 9] x\r\n",
            b"* 3 EXISTS\r\n",
            b'* 1 FETCH (UID 1 FLAGS (\\Seen) INTERNALDATE " 2-Mar-2026 09:00:00 +0000" ',
            b'BODY[HEADER.FIELDS ("From")] {7}\r\nFrom: a)\r\n',
            b"* 1 FETCH (UID x)\r\n",
            b"* 1 FETCH (",
            b'* 1 FETCH (UID 1 INTERNALDATE "99-Foo-0000 00:00:00 +9999")\r\n',
            b"* 1 FETCH NIL\r\n",
            b"* 1 FETCH (UID 1 INTERNALDATE NIL FLAGS NIL RFC822.SIZE NIL)\r\n",
            b"{4294967296}\r\n",
            b"{-1}\r\n",
            b"{99999999999999999999}\r\n",
            b"* STATUS INBOX (UIDNEXT 1)\r\n",
            b'* STATUS "',
            b"* NAMESPACE NIL NIL NIL\r\n",
            b'* NAMESPACE (("" "/")) NIL NIL\r\n',
            b"* NAMESPACE (",
            b"(" * 2000,
            b"* ESEARCH\r\n",
            b"* OK [COPYUID 1 1:4294967295 1:4294967295] x\r\n",
            b"* ENABLED\r\n",
            b"\x00",
            b"\xff\xfe\r\n",
            b"* 1 FETCH (UID 1 BODY[]<0> {3}\r\nabc)\r\n",
            b'* 1 FETCH (BODY[] "\\',
            b"* 0 FETCH (UID 0)\r\n",
        ]
    ),
)
ANSWER = st.lists(PART, max_size=8).map(b"".join)


@MANY
@given(st.sampled_from(sorted(QUESTIONS)), ANSWER)
def test_an_imap_answer_is_read_or_is_one_error(question: str, said: bytes) -> None:
    with imap_hearing(said) as imap:
        try:
            QUESTIONS[question](imap)
        except MailError as error:
            assert error.code
            assert str(error).isprintable()


SPOKEN = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            b"220 hi\r\n",
            b"250 ok\r\n",
            b"250-x\r\n",
            b"250-SIZE 99999999999999999999\r\n",
            b"250-SIZE \xb2\r\n",
            b"250-AUTH=LOGIN\r\n",
            b"250-AUTH PLAIN\r\n",
            b"354 go\r\n",
            b"354\r\n",
            b"451 4.7.1 later\r\n",
            b"550 5.1.1 no\r\n",
            b"421 bye\r\n",
            b"999 x\r\n",
            b"25\r\n",
            b"\r\n",
            b"250\r\n",
            b"250",
            b"250 \xff\xfe\x00\r\n",
            b"\xb2\xb2\xb2 x\r\n",
            b"250-" + b"x" * 5000 + b"\r\n",
            b"334 !!\r\n",
            b"235 in\r\n",
            b"221 bye\r\n",
            b"5",
            b"-",
            b" ",
            b"\n",
        ]
    ),
)


@MANY
@given(st.lists(SPOKEN, max_size=8).map(b"".join))
def test_an_smtp_reply_is_read_or_is_one_error(said: bytes) -> None:
    with smtp_hearing(said) as smtp:
        try:
            smtp._expect(None, 220, Stage.GREETING)
            smtp._hello("[127.0.0.1]")
            assert smtp.max_size is None or smtp.max_size > 0
            smtp.begin("a@b.test", "c@d.test", 10)
            smtp.transmit(b"Subject: x\r\n\r\nx\r\n")
            reply = smtp.finish()
            assert 200 <= reply.code < 300
        except (MailError, OutcomeUnknown) as error:
            assert error.code
            assert str(error).isprintable()


@MANY
@given(st.lists(SPOKEN, max_size=3).map(b"".join))
def test_after_the_dot_only_a_refusal_is_taken_for_one(said: bytes) -> None:
    """Anything but a complete 2xx, 4xx or 5xx leaves a doubt: the message must not go twice."""
    opening = b"220 hi\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"
    with smtp_hearing(opening + said) as smtp:
        smtp._expect(None, 220, Stage.GREETING)
        smtp._hello("x")
        smtp.begin("a@b.test", "c@d.test", 10)
        smtp.transmit(b"Subject: x\r\n\r\nx\r\n")
        refused = _refusal(smtp)
        if refused is None:
            return
        if refused.code == "connection_lost":  # seen before the dot was sent
            assert said == b""
            return
        assert refused.reply_code is not None
        assert refused.reply_code >= 400
        assert f"{refused.reply_code}".encode() in said


def _refusal(smtp: SmtpSession) -> MailError | None:
    try:
        assert 200 <= smtp.finish().code < 300
    except OutcomeUnknown:
        return None
    except MailError as error:
        return error
    return None


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.imap")), ids=lambda path: path.stem)
def test_a_transcript_of_imap_stays_one_error(sample: Path) -> None:
    """The first line names the question, the rest is what the server said."""
    question, _, said = sample.read_bytes().partition(b"\n")
    with imap_hearing(said) as imap, pytest.raises(MailError):
        QUESTIONS[question.decode().strip()](imap)


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.smtp")), ids=lambda path: path.stem)
def test_a_transcript_of_smtp_stays_one_error(sample: Path) -> None:
    with smtp_hearing(sample.read_bytes()) as smtp, pytest.raises(MailError):
        _converse(smtp)


def _converse(smtp: SmtpSession) -> None:
    smtp._expect(None, 220, Stage.GREETING)
    smtp._hello("x")
    smtp.begin("a@b.test", "c@d.test", 10)


def test_two_hundred_thousand_messages_are_read_in_slices() -> None:
    """Their numbers alone come whole; of headers 500 at most are asked for at a time."""
    numbers = b" ".join(b"%d" % number for number in range(1, 200_001))
    done = b"".join(b"TAG%d OK done\r\n" % number for number in range(1, 20))
    with imap_hearing(b"* SEARCH " + numbers + b"\r\n" + done) as imap:
        assert imap.headers(first_uid=1) == []
        asked = HEADER_SLICE // 100
        assert imap._client._imap.tagnum == 1 + 1 + asked
