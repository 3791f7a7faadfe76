"""The common providers: their domains, their mail exchangers, their servers, and how they sign in.

Facts are of each provider's own help pages; the page about signing in is named where a reader needs
it. A new provider is one more entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mailhearth_core.autoconfig.model import SignIn, Suggestion
from mailhearth_core.mail.dns import MxHost
from mailhearth_core.mail.model import Endpoint, TlsMode


@dataclass(frozen=True, slots=True)
class KnownProvider:
    """One provider.

    Attributes:
        domains: of its own addresses.
        exchangers: the suffixes of the MX hosts of its customers' domains.
        hosted: settings of customers' domains, where they differ from `settings`.
    """

    settings: Suggestion
    domains: tuple[str, ...] = ()
    exchangers: tuple[str, ...] = ()
    hosted: Suggestion | None = None


def known(address: str) -> Suggestion | None:
    """The settings of an address at one of the providers' own domains; asks nobody."""
    provider = _BY_DOMAIN.get(address.rpartition("@")[2].strip().lower().rstrip("."))
    return provider.settings if provider else None


def by_exchanger(hosts: Sequence[MxHost]) -> Suggestion | None:
    """The settings of a domain whose mail goes to one of the providers."""
    for host in sorted(hosts):
        labels = host.host.lower().rstrip(".").split(".")
        for start in range(len(labels)):
            provider = _BY_EXCHANGER.get(".".join(labels[start:]))
            if provider is not None:
                return replace(provider.hosted or provider.settings, source="mx")
    return None


def _tls(host: str, port: int) -> Endpoint:
    mode = TlsMode.IMPLICIT if port in (993, 465) else TlsMode.STARTTLS
    return Endpoint(host, port, mode)


def _servers(
    name: str,
    imap: str,
    smtp: str,
    *,
    smtp_port: int = 465,
    sign_in: SignIn = SignIn.PASSWORD,
    note: str = "",
    url: str = "",
) -> Suggestion:
    return Suggestion(
        name, _tls(imap, 993), _tls(smtp, smtp_port), sign_in, note=note, note_url=url
    )


def _app_password(name: str, imap: str, smtp: str, url: str, *, port: int = 465) -> Suggestion:
    note = (
        f"{name} takes an app password here, not the account's own password. "
        "Make one in the account's security settings."
    )
    return _servers(
        name, imap, smtp, smtp_port=port, sign_in=SignIn.APP_PASSWORD, note=note, url=url
    )


def _switched_on(name: str, imap: str, smtp: str, url: str, *, port: int = 465) -> Suggestion:
    note = f"{name} lets programs in only after IMAP is switched on in the mailbox's settings."
    return _servers(name, imap, smtp, smtp_port=port, note=note, url=url)


_ZOHO_NOTE = (
    "IMAP access must be switched on in Zoho's settings, and with two-factor sign-in an "
    "application-specific password is needed."
)
_ZOHO_URL = "https://www.zoho.com/mail/help/imap-access.html"

PROVIDERS: tuple[KnownProvider, ...] = (
    KnownProvider(
        _servers(
            "Gmail", "imap.gmail.com", "smtp.gmail.com", sign_in=SignIn.OAUTH,
            note="Google wants its own sign-in page instead of a password.",
            url="https://support.google.com/mail/answer/7126229",
        ),
        domains=("gmail.com", "googlemail.com"),
        exchangers=("google.com", "googlemail.com"),
    ),
    KnownProvider(
        _servers(
            "Outlook", "outlook.office365.com", "smtp-mail.outlook.com", smtp_port=587,
            sign_in=SignIn.OAUTH,
            note="Microsoft wants its own sign-in page instead of a password.",
            url="https://support.microsoft.com/office/d088b986-291d-42b8-9564-9c414e2aa040",
        ),
        domains=("outlook.com", "hotmail.com", "live.com", "msn.com", "outlook.de", "outlook.fr",
                 "hotmail.co.uk", "hotmail.fr", "hotmail.de", "live.co.uk", "live.de", "live.fr"),
        exchangers=("mail.protection.outlook.com", "olc.protection.outlook.com", "mx.microsoft"),
        hosted=_servers(
            "Microsoft 365", "outlook.office365.com", "smtp.office365.com", smtp_port=587,
            sign_in=SignIn.OAUTH,
            note="Microsoft wants its own sign-in page instead of a password; an administrator "
            "must allow authenticated SMTP for the mailbox.",
            url="https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/"
            "authenticated-client-smtp-submission",
        ),
    ),
    KnownProvider(
        _app_password("Yahoo", "imap.mail.yahoo.com", "smtp.mail.yahoo.com",
                      "https://help.yahoo.com/kb/SLN15241.html"),
        domains=("yahoo.com", "ymail.com", "rocketmail.com", "yahoo.co.uk", "yahoo.fr", "yahoo.de",
                 "yahoo.es", "yahoo.it", "yahoo.ca", "yahoo.co.in", "yahoo.com.br", "yahoo.com.au"),
        exchangers=("yahoodns.net",),
    ),
    KnownProvider(
        _app_password("AOL", "imap.aol.com", "smtp.aol.com",
                      "https://help.aol.com/articles/Create-and-manage-app-password"),
        domains=("aol.com", "aim.com", "verizon.net"),
    ),
    KnownProvider(
        _app_password("iCloud", "imap.mail.me.com", "smtp.mail.me.com",
                      "https://support.apple.com/102654", port=587),
        domains=("icloud.com", "me.com", "mac.com"),
        exchangers=("mail.icloud.com",),
    ),
    KnownProvider(
        _servers("Zoho", "imap.zoho.com", "smtp.zoho.com", note=_ZOHO_NOTE, url=_ZOHO_URL),
        domains=("zoho.com", "zohomail.com"),
        exchangers=("zoho.com",),
        hosted=_servers("Zoho", "imappro.zoho.com", "smtppro.zoho.com",
                        note=_ZOHO_NOTE, url=_ZOHO_URL),
    ),
    KnownProvider(
        _servers("Zoho (EU)", "imap.zoho.eu", "smtp.zoho.eu", note=_ZOHO_NOTE, url=_ZOHO_URL),
        domains=("zohomail.eu",),
        exchangers=("zoho.eu",),
        hosted=_servers("Zoho (EU)", "imappro.zoho.eu", "smtppro.zoho.eu",
                        note=_ZOHO_NOTE, url=_ZOHO_URL),
    ),
    KnownProvider(
        _app_password("Fastmail", "imap.fastmail.com", "smtp.fastmail.com",
                      "https://www.fastmail.help/hc/en-us/articles/360058752854"),
        domains=("fastmail.com", "fastmail.fm"),
        exchangers=("messagingengine.com",),
    ),
    KnownProvider(
        _switched_on("GMX", "imap.gmx.net", "mail.gmx.net",
                     "https://hilfe.gmx.net/pop-imap/imap/index.html"),
        domains=("gmx.de", "gmx.net", "gmx.at", "gmx.ch"),
    ),
    KnownProvider(
        _switched_on("GMX", "imap.gmx.com", "mail.gmx.com",
                     "https://support.gmx.com/pop-imap/toggle.html"),
        domains=("gmx.com", "gmx.us", "gmx.co.uk", "gmx.fr", "gmx.es"),
    ),
    KnownProvider(
        _switched_on("WEB.DE", "imap.web.de", "smtp.web.de",
                     "https://hilfe.web.de/pop-imap/einschalten.html", port=587),
        domains=("web.de",),
    ),
    KnownProvider(
        _switched_on("mail.com", "imap.mail.com", "smtp.mail.com",
                     "https://support.mail.com/premium/imap/index.html", port=587),
        domains=("mail.com", "email.com", "usa.com", "post.com", "consultant.com"),
    ),
    KnownProvider(
        _servers(
            "T-Online", "secureimap.t-online.de", "securesmtp.t-online.de",
            sign_in=SignIn.APP_PASSWORD,
            note="Telekom wants a password for e-mail programs, set in its customer centre.",
            url="https://www.telekom.de/hilfe/apps-dienste/e-mail/programme/passwort",
        ),
        domains=("t-online.de", "magenta.de"),
    ),
    KnownProvider(
        _servers("IONOS", "imap.ionos.com", "smtp.ionos.com"),
        exchangers=("ionos.com", "1and1.com", "perfora.net"),
    ),
    KnownProvider(
        _servers("IONOS", "imap.ionos.de", "smtp.ionos.de"),
        exchangers=("ionos.de", "kundenserver.de"),
    ),
    KnownProvider(
        _servers("STRATO", "imap.strato.de", "smtp.strato.de"),
        exchangers=("rzone.de",),
    ),
    KnownProvider(
        _servers("OVHcloud", "ssl0.ovh.net", "ssl0.ovh.net"),
        exchangers=("ovh.net",),
    ),
    KnownProvider(
        _app_password("Yandex", "imap.yandex.com", "smtp.yandex.com",
                      "https://yandex.com/support/id/authorization/app-passwords.html"),
        domains=("yandex.com", "yandex.ru", "ya.ru", "yandex.by", "yandex.kz"),
        exchangers=("yandex.net", "yandex.ru"),
    ),
    KnownProvider(
        _app_password("Mail.ru", "imap.mail.ru", "smtp.mail.ru",
                      "https://help.mail.ru/mail/security/protection/external"),
        domains=("mail.ru", "inbox.ru", "list.ru", "bk.ru", "internet.ru"),
        exchangers=("emx.mail.ru",),
    ),
    KnownProvider(
        _servers("Orange", "imap.orange.fr", "smtp.orange.fr"),
        domains=("orange.fr", "wanadoo.fr"),
    ),
    KnownProvider(
        _servers("Libero", "imapmail.libero.it", "smtp.libero.it"),
        domains=("libero.it", "iol.it", "inwind.it"),
    ),
    KnownProvider(
        _servers(
            "QQ Mail", "imap.qq.com", "smtp.qq.com", sign_in=SignIn.APP_PASSWORD,
            note="QQ Mail wants an authorisation code, made where IMAP is switched on.",
            url="https://service.mail.qq.com/",
        ),
        domains=("qq.com", "foxmail.com"),
    ),
    KnownProvider(
        _servers("Rackspace", "secure.emailsrvr.com", "secure.emailsrvr.com"),
        exchangers=("emailsrvr.com",),
    ),
    KnownProvider(
        _servers("GoDaddy", "imap.secureserver.net", "smtpout.secureserver.net"),
        exchangers=("secureserver.net",),
    ),
    KnownProvider(
        _servers("Namecheap Private Email", "mail.privateemail.com", "mail.privateemail.com"),
        exchangers=("privateemail.com",),
    ),
    KnownProvider(
        _servers("Hostinger", "imap.hostinger.com", "smtp.hostinger.com"),
        exchangers=("hostinger.com",),
    ),
    KnownProvider(
        _servers("Titan", "imap.titan.email", "smtp.titan.email"),
        exchangers=("titan.email",),
    ),
    KnownProvider(
        _servers("Migadu", "imap.migadu.com", "smtp.migadu.com"),
        exchangers=("migadu.com",),
    ),
    KnownProvider(
        _servers("mailbox.org", "imap.mailbox.org", "smtp.mailbox.org"),
        domains=("mailbox.org",),
        exchangers=("mailbox.org",),
    ),
    KnownProvider(
        _servers("Infomaniak", "mail.infomaniak.com", "mail.infomaniak.com"),
        domains=("ik.me", "ikmail.com"),
        exchangers=("infomaniak.ch", "infomaniak.com"),
    ),
    KnownProvider(
        _servers("Gandi", "mail.gandi.net", "mail.gandi.net"),
        exchangers=("gandi.net",),
    ),
    KnownProvider(
        Suggestion(
            "Proton", None, None, SignIn.NONE,
            note="Proton Mail is encrypted end to end and offers no IMAP over the internet, so it "
            "cannot be warmed up here.",
            note_url="https://proton.me/support/imap-smtp-and-pop3-setup",
        ),
        domains=("proton.me", "protonmail.com", "pm.me"),
        exchangers=("protonmail.ch",),
    ),
    KnownProvider(
        Suggestion(
            "Tuta", None, None, SignIn.NONE,
            note="Tuta offers no IMAP, so it cannot be warmed up here.",
            note_url="https://tuta.com/support",
        ),
        domains=("tuta.com", "tutanota.com", "tuta.io", "tutanota.de", "keemail.me"),
        exchangers=("tutanota.de",),
    ),
)  # fmt: skip

_BY_DOMAIN = {domain: provider for provider in PROVIDERS for domain in provider.domains}
_BY_EXCHANGER = {suffix: provider for provider in PROVIDERS for suffix in provider.exchangers}
