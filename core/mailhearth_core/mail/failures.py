"""Turning what the network does into `MailError`, once for SMTP and IMAP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mailhearth_core.mail.model import FailureKind, MailError, Stage
from mailhearth_core.mail.wire import ConnectionLost, TooMuchData
from mailhearth_core.net import ConnectionFailed, DeadlinePassed


@contextmanager
def network_errors(stage: Stage) -> Iterator[None]:
    """Raises what dialing and the wire raise as `MailError`; `stage` where they name none."""
    try:
        yield
    except ConnectionFailed as error:
        raise MailError(
            error.message,
            kind=FailureKind.PERMANENT if error.permanent else FailureKind.TRY_LATER,
            stage=Stage(error.stage),
            code=error.code,
            hint=error.hint,
        ) from error
    except (DeadlinePassed, ConnectionLost, TooMuchData) as error:
        raise MailError(
            f"{error.message} (step: {stage})",
            kind=FailureKind.TRY_LATER,
            stage=stage,
            code=error.code,
            hint="Nothing to do: it is tried again later.",
        ) from error
