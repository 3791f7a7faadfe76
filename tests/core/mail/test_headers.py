"""What a message's Content-Type says of reports; other fields are tested against a real server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mailhearth_core.mail.headers import HeaderRecord, header_record


def read(content_type: str) -> HeaderRecord:
    raw = f"Subject: x\r\n{content_type}\r\n\r\n".encode()
    return header_record(
        raw, uid=1, internaldate=datetime(2025, 7, 1, tzinfo=UTC), flags=frozenset(), size=len(raw)
    )


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("Content-Type: multipart/report; report-type=delivery-status; boundary=x",
         "delivery-status"),
        ('Content-Type: Multipart/Report; boundary="a;b";\r\n\tReport-Type = "Delivery-Status"',
         "delivery-status"),
        ("Content-Type: multipart/report; report-type=feedback-report", "feedback-report"),
        ("Content-Type: multipart/report; report-type=disposition-notification;x=\xe9",
         "disposition-notification"),
        ("Content-Type: multipart/report; report-type=", ""),
        ("Content-Type: multipart/report; x-report-type=delivery-status", ""),
        ("Content-Type: text/plain", ""),
        ("X-Other: multipart/report; report-type=delivery-status", ""),
    ],
)  # fmt: skip
def test_the_kind_of_a_report_is_read_from_its_parameter(field: str, kind: str) -> None:
    record = read(field)
    assert record.report_type == kind
    assert record.is_report == ("multipart/report" in field.lower() and "X-Other" not in field)
