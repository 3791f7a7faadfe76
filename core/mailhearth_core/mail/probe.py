"""Testing a mailbox step by step, in words for the person who connects it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailhearth_core.mail.model import Login, MailError, Stage, TlsMode
from mailhearth_core.net import Dialer
from mailhearth_core.providers.base import MailboxConfig, Provider


@dataclass(frozen=True, slots=True)
class Step:
    """One step: `name` is stable ("imap.resolve", ..., "smtp.login"), the rest is for people.

    `code` is the error's machine code, "" when the step went well.
    """

    name: str
    ok: bool
    detail: str
    hint: str = ""
    code: str = ""


OnStep = Callable[[Step], None]

_DONE = {
    Stage.RESOLVE: "The name {host} is known.",
    Stage.CONNECT: "Connected to {host} port {port}.",
    Stage.TLS: "The connection is encrypted and the certificate fits.",
    Stage.LOGIN: "Signed in as {user}.",
}
_SILENT = {"timeout", "connection_lost", "bad_server_reply"}
_STEP_OF = {Stage.GREETING: Stage.CONNECT}


def probe(
    provider: Provider,
    config: MailboxConfig,
    login: Login,
    dialer: Dialer,
    on_step: OnStep,
    *,
    deadline_s: float = 15.0,
) -> tuple[Step, ...]:
    """Signs in for reading and for sending, and looks at the folders; changes nothing.

    `on_step` is told each step when it ends. A side that fails ends there; the other is tried all
    the same. Only mail failures become steps, anything else is raised.
    """
    steps: list[Step] = []

    def tell(step: Step) -> None:
        steps.append(step)
        on_step(step)

    imap = _reporter("imap", config.imap.host, config.imap.port, login, tell)
    try:
        reader = provider.open_reader(config, login, dialer, deadline_s=deadline_s, on_stage=imap)
        try:
            found = reader.folders()
        finally:
            reader.close()
        if found.junk is None:
            tell(
                Step(
                    "imap.folders",
                    True,
                    "There is no Junk folder to be found.",
                    "Placement in Junk cannot be seen; make sure the provider shows it by IMAP.",
                )
            )
        else:
            tell(Step("imap.folders", True, f"Junk is {found.junk}, Sent is {found.sent or '-'}."))
    except MailError as error:
        tell(_failed("imap", error, config.imap.tls))
    smtp = _reporter("smtp", config.smtp.host, config.smtp.port, login, tell)
    try:
        provider.open_sender(config, login, dialer, deadline_s=deadline_s, on_stage=smtp).close()
    except MailError as error:
        tell(_failed("smtp", error, config.smtp.tls))
    return tuple(steps)


def _reporter(
    side: str, host: str, port: int, login: Login, tell: OnStep
) -> Callable[[Stage], None]:
    def report(stage: Stage) -> None:
        detail = _DONE[stage].format(host=host, port=port, user=login.username)
        tell(Step(f"{side}.{stage}", True, detail))

    return report


def _failed(side: str, error: MailError, tls: TlsMode) -> Step:
    stage = _STEP_OF.get(error.stage, error.stage)
    if stage is Stage.LIST:
        return Step(f"{side}.folders", False, error.message, error.hint, error.code)
    hint = error.hint
    if error.code == "tls_failed" and tls is TlsMode.IMPLICIT:
        hint = "The port may want STARTTLS instead of TLS (143 and 587 usually do)."
    elif stage is Stage.CONNECT and tls is TlsMode.STARTTLS and error.code in _SILENT:
        hint = "The port may want TLS from the first byte instead of STARTTLS (993 and 465 do)."
    return Step(f"{side}.{stage}", False, error.message, hint, error.code)
