"""Forms of a mailbox: its address, servers and name. What may stand in them is core's to say."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    Field,
    HiddenField,
    PasswordField,
    RadioField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.fields.choices import SelectChoice

from mailhearth_core.errors import InvalidValue
from mailhearth_core.providers import oauth_owner
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs.mailbox_spec import (
    NO_PASSWORDS,
    InvalidMailbox,
    MailboxSpec,
    parse_spec,
)

TLS = [
    SelectChoice("implicit", "TLS (ports 993 and 465)"),
    SelectChoice("starttls", "STARTTLS (ports 143 and 587)"),
    SelectChoice("none", "none (this machine only)"),
]
_FIELD = {"imap": "imap_host", "smtp": "smtp_host", "tls": "imap_tls", "ca": "ca_pem"}
_DESTINATION = {"imap", "smtp", "tls", "ca", "username", "password"}
"""What a password is sealed for, and itself: with one of these wrong it cannot be held."""


class AddressForm(FlaskForm):  # type: ignore[misc]
    """The first step of connecting."""

    address = StringField("E-mail address")


class PasswordForm(FlaskForm):  # type: ignore[misc]
    """Connecting a mailbox again, at the servers it has."""

    password = PasswordField("Password")


class ServersForm(FlaskForm):  # type: ignore[misc]
    """Everything that is needed to sign in to a mailbox."""

    address = StringField("E-mail address")
    name = StringField("Name", description="The person's name, as mails from it show it.")
    username = StringField(
        "User name", description="To sign in with; empty means the whole address."
    )
    password = PasswordField("Password")
    imap_host = StringField("Host")
    imap_port = StringField("Port")
    imap_tls = SelectField("Encryption", choices=TLS)
    smtp_host = StringField("Host")
    smtp_port = StringField("Port")
    smtp_tls = SelectField("Encryption", choices=TLS)
    ca_pem = TextAreaField(
        "Certificate authority",
        description="PEM text, for servers whose certificate is not publicly trusted. Else empty.",
    )
    timezone = StringField("Time zone", description="Of its working day, such as Europe/Berlin.")
    pool = SelectField("Pool", description="Its policy, and whom it writes to.")
    held = HiddenField()
    kept_ca: str | None = None
    """The stored authority, for a mailbox that is there: its text is part of what is sealed."""

    def offer_pools(self, pools: Sequence[Mapping[str, Any]]) -> None:
        self.pool.choices = pool_choices(pools)

    def fill(self, values: Mapping[str, Any]) -> None:
        """Puts values into the fields that have their names."""
        for name, value in values.items():
            if name in self and value is not None:
                self[name].data = str(value)

    def values(self) -> dict[str, str | None]:
        """As `parse_spec` takes them."""
        authority = _lines(self.ca_pem.data)
        if self.kept_ca is not None and authority == _lines(self.kept_ca):
            authority = self.kept_ca
        return {
            "address": (self.address.data or "").strip(),
            "name": self.name.data,
            "username": (self.username.data or "").strip(),
            "timezone": (self.timezone.data or "").strip(),
            "imap": _joined(self.imap_host, self.imap_port),
            "smtp": _joined(self.smtp_host, self.smtp_port),
            "imap_tls": self.imap_tls.data,
            "smtp_tls": self.smtp_tls.data,
            "ca_pem": authority,
        }

    def spec(self, *, allow_app_passwords: bool) -> MailboxSpec | None:
        """The mailbox; None when the fields say what is wrong.

        Without a password where one is held.
        """
        typed = self.password.data or ""
        mistakes: list[InvalidValue] = []
        if not _is_pem(_lines(self.ca_pem.data)):
            mistakes.append(InvalidValue("ca", "", "PEM text of certificates, or nothing"))
        password = None if self.held.data and not typed else Secret(typed)
        try:
            spec = parse_spec(self.values(), password, allow_app_passwords=allow_app_passwords)
        except InvalidMailbox as error:
            mistakes += error.mistakes
            spec = None
        for mistake in mistakes:
            self.blame(mistake)
        return None if mistakes else spec

    def spec_to_hold(self, *, allow_app_passwords: bool) -> MailboxSpec | None:
        """For keeping the password while something else is mended; None when that cannot be."""
        typed = self.password.data or ""
        values = self.values()
        values["username"] = values["username"] or values["address"]
        if not typed or not _is_pem(values["ca_pem"]):
            return None
        rest = {"address": "held@held.test", "name": "", "timezone": "UTC"}
        try:
            return parse_spec(values | rest, Secret(typed), allow_app_passwords=allow_app_passwords)
        except InvalidMailbox:
            return None

    def blame(self, mistake: InvalidValue) -> None:
        """Writes a mistake beside its field."""
        field = self[_FIELD.get(mistake.field, mistake.field)]
        add_error(field, said(mistake, self.values()))


class DescribeForm(FlaskForm):  # type: ignore[misc]
    """What others see of a mailbox, and its working day."""

    name = StringField("Name", description="As mails from it show it.")
    timezone = StringField(
        "Time zone", description="Of its working day. A change counts from its next day on."
    )


class MoveForm(FlaskForm):  # type: ignore[misc]
    pool = SelectField("Pool", description="Policy and peers are those of the pool.")

    def offer_pools(self, pools: Sequence[Mapping[str, Any]]) -> None:
        self.pool.choices = pool_choices(pools)


class ConsentForm(FlaskForm):  # type: ignore[misc]
    """What the mailbox's owner agrees to: warmup in the workspace; apart from it the network."""

    warmup = RadioField(
        "Warmup",
        choices=[
            SelectChoice("yes", "Yes, warm this mailbox up among the mailboxes of this workspace."),
            SelectChoice("no", "No. It is stored, and nobody signs in to it."),
        ],
    )
    network = BooleanField("Also with mailboxes of other workspaces")

    @property
    def scope(self) -> str:
        if self.warmup.data != "yes":
            return "none"
        return "network" if self.network.data else "workspace"


def pool_choices(pools: Sequence[Mapping[str, Any]]) -> list[SelectChoice]:
    """Pools by name, for a select."""
    return [SelectChoice(str(pool["id"]), pool["name"]) for pool in pools]


def add_error(field: Field, text: str) -> None:
    if text not in field.errors:
        field.errors = [*field.errors, text]


def said(mistake: InvalidValue, values: Mapping[str, str | None]) -> str:
    """A mistake in the words of a form."""
    if mistake.allowed.startswith(NO_PASSWORDS):
        host = (values.get(mistake.field) or "").rpartition(":")[0]
        owner = oauth_owner(host) or "This provider"
        return f"{owner} takes no passwords from programs; sign in with {owner} instead."
    if mistake.field == "password":
        return "Type the password."
    if mistake.field in ("imap", "smtp") and not (values.get(mistake.field) or "").strip(":"):
        return "Fill in host and port."
    return f"This is not allowed. It must be {mistake.allowed}."


def zones(names: Iterable[str]) -> list[str]:
    """Zones worth offering: places, and UTC."""
    places = (name for name in names if "/" in name and not name.startswith("Etc/"))
    return [*sorted(places), "UTC"]


def _joined(host: Field, port: Field) -> str:
    return f"{(host.data or '').strip()}:{(port.data or '').strip()}"


def _lines(text: str | None) -> str | None:
    """A textarea's text with the line ends that files have."""
    lines = (text or "").replace("\r\n", "\n").strip()
    return f"{lines}\n" if lines else None


def _is_pem(text: str | None) -> bool:
    if not text:
        return True
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        return False
    return True
