"""A submission server that fails at chosen moments of a message, in front of the sandbox's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from man_in_the_middle import ManInTheMiddle, Side

_ADDRESS = re.compile(rb"<([^>]*)>")
_MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^>]+>)", re.IGNORECASE | re.MULTILINE)

FAULTS: Mapping[str, float] = {
    "4xx": 0.08,
    "5xx": 0.03,
    "greylist": 0.08,
    "drop_before_dot": 0.08,
    "drop_after_dot": 0.08,
    "hang_before_dot": 0.03,
    "hang_after_dot": 0.03,
    "lose_after_dot": 0.02,
}
"""Share of messages (of tries, to be exact) that meet each fault."""

Moment = Callable[[str, str, str], None]
"""Told of a sender, a recipient and the moment: `rcpt`, `data` (the server is about to say 354) or
`dot` (the whole message is here, not yet handed on)."""


class MisbehavingSmtp(ManInTheMiddle):
    """Draws a fault for each message that begins, from a seed.

    `injected` counts the faults that really happened, `accepted` the messages that the real server
    took, by Message-ID.
    """

    def __init__(
        self,
        post: Path,
        upstream: int,
        seed: int,
        faults: Mapping[str, float] = FAULTS,
        moment: Moment | None = None,
    ) -> None:
        self._chance = Random(seed)
        self.faults = faults
        self._moment = moment or (lambda sender, recipient, at: None)
        self._grey: set[tuple[str, str]] = set()
        self.injected: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        super().__init__(post, upstream)

    def _draw(self) -> str:
        at = self._chance.random()
        for name, share in self.faults.items():
            if at < share:
                return name
            at -= share
        return ""

    def serve(self, client: Side, server: Side) -> None:
        client.send(_reply(server))
        sender = recipient = fault = ""
        while line := client.line():
            verb = line[:4].upper()
            if verb == b"MAIL":
                sender, fault = _address(line), self._draw()
                place = self._chance.choice((b"MAIL", b"RCPT", b"DATA", b"dot"))
            elif verb == b"RCPT":
                recipient = _address(line)
                self._moment(sender, recipient, "rcpt")
                if fault == "greylist" and (sender, recipient) not in self._grey:
                    self._grey.add((sender, recipient))
                    self._hit(fault)
                    client.send(b"450 4.2.0 Greylisted, please come back later\r\n")
                    continue
            if verb in (b"MAIL", b"RCPT", b"DATA") and fault in ("4xx", "5xx") and place == verb:
                self._hit(fault)
                client.send(_refusal(fault, verb))
                continue
            if verb == b"DATA":
                self._moment(sender, recipient, "data")
                if not self._data(client, server, sender, recipient, fault):
                    return
                continue
            server.send(line)
            client.send(_reply(server))

    def _data(self, client: Side, server: Side, sender: str, recipient: str, fault: str) -> bool:
        """From DATA to the reply to the dot; False when the connection is over.

        The real server hears of it when the whole message is here.
        """
        if fault == "hang_before_dot":
            self._hit(fault)
            client.wait_for_end()
            return False
        client.send(b"354 Go ahead\r\n")
        text = bytearray()
        if fault == "drop_before_dot":
            while client.line() not in (b"\r\n", b""):
                pass  # in the middle of the message
            self._hit(fault)
            return False
        while not text.endswith(b"\r\n.\r\n"):
            line = client.line()
            if not line:
                return False
            text += line
        self._moment(sender, recipient, "dot")
        if fault in ("4xx", "5xx"):  # the place drawn for it was the dot
            self._hit(fault)
            server.send(b"RSET\r\n")
            _reply(server)
            client.send(_refusal(fault, b"dot"))
            return True
        if fault == "lose_after_dot":
            self._hit(fault)
            client.wait_for_end()
            return False
        server.send(b"DATA\r\n")
        assert _reply(server).startswith(b"354")
        server.send(bytes(text))
        reply = _reply(server)
        if reply.startswith(b"250"):
            found = _MESSAGE_ID.search(text)
            assert found is not None
            self.accepted[found[1].decode()] += 1
        if fault in ("drop_after_dot", "hang_after_dot"):
            self._hit(fault)
            if fault == "hang_after_dot":
                client.wait_for_end()
            return False
        client.send(reply)
        return True

    def _hit(self, fault: str) -> None:
        self.injected[fault] += 1


def _refusal(fault: str, place: bytes) -> bytes:
    if fault == "4xx":
        return b"451 4.3.0 Try again later\r\n"
    return b"554 5.6.0 This message is not wanted\r\n"


def _reply(server: Side) -> bytes:
    reply = b""
    while True:
        line = server.line()
        reply += line
        if not line or line[3:4] != b"-":
            return reply


def _address(line: bytes) -> str:
    found = _ADDRESS.search(line)
    return found[1].decode() if found else ""
