"""A worker as `mailhearth worker` runs it, but for two things that a measurement needs.

- No gap between two sends: the least gap that a policy may have is a minute, so that no mailbox
  sends in bursts; to measure how fast mail can leave, it is 0 here.
- smtp-sink answers AUTH with 250 in place of 235; here that passes for a sign-in.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mailhearth_core.mail import sasl
from mailhearth_core.mail.model import Login, Stage
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.warmup.policy import Policy
from mailhearth_worker.main import main

_from_json = Policy.from_json


def without_gap(data: Mapping[str, Any]) -> Policy:
    return _from_json(data).model_copy(update={"min_gap_seconds": 0})


def sign_in(self: SmtpSession, login: Login, mechanisms: Sequence[str] | None) -> None:
    first = base64.b64encode(sasl.first_response("PLAIN", login)).decode()
    self._expect(f"AUTH PLAIN {first}", 250, Stage.LOGIN)


if __name__ == "__main__":
    Policy.from_json = staticmethod(without_gap)  # type: ignore[method-assign]
    SmtpSession._sign_in = sign_in  # type: ignore[method-assign]
    sys.exit(main())
