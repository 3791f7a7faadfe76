"""What providers that are signed in to with OAuth alone have in common."""

from __future__ import annotations

from ipaddress import ip_address
from typing import ClassVar

from mailhearth_core.mail.model import FailureKind, Login, MailError, Mechanism, Stage
from mailhearth_core.providers.base import MailboxConfig
from mailhearth_core.providers.imap_smtp.provider import ImapSmtpProvider
from mailhearth_core.providers.oauth_servers import OAuthServers


class OAuthProvider(ImapSmtpProvider):
    """A provider whose servers are known, so that an access token is shown to no other.

    A password is sealed for its server; an access token is not sealed at all, so what keeps it from
    a host that somebody wrote into the database is this class. Loopback is let through: the
    dialer goes there only where the installation allows it (a sandbox, development, the tests).
    """

    kind = ""
    servers: ClassVar[OAuthServers]

    def __init__(self) -> None:
        super().__init__(allow_app_passwords=False)

    def name_for(self, host: str) -> str:
        return self.kind

    def check_login(self, config: MailboxConfig, login: Login) -> None:
        """Refuses passwords, and servers that are not this provider's.

        Raises:
            MailError: nothing was sent anywhere.
        """
        if login.mechanism is not Mechanism.OAUTH:
            raise MailError(
                f"Passwords are not used for {self.servers.owner}'s servers.",
                kind=FailureKind.REAUTHENTICATE,
                stage=Stage.LOGIN,
                code="oauth_required",
                hint=f'Connect the mailbox with "Sign in with {self.servers.owner}".',
            )
        for endpoint, hosts in (
            (config.imap, {self.servers.imap.host}),
            (config.smtp, {self.servers.smtp.host} | self.servers.more_smtp_hosts),
        ):
            if _is_loopback(endpoint.host):
                continue
            if endpoint.host.rstrip(".").lower() not in hosts or endpoint.ca_pem is not None:
                raise MailError(
                    f"{endpoint.host} is not a server of {self.servers.owner} "
                    "(or its certificate authority was changed); no token is sent there.",
                    kind=FailureKind.PERMANENT,
                    stage=Stage.LOGIN,
                    code="wrong_server",
                    hint="Connect the mailbox again, or as provider imap_smtp.",
                )


def _is_loopback(host: str) -> bool:
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
