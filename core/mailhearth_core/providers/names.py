"""Whose mail servers a host name belongs to: for statistics, pairing and sign-in rules."""

from __future__ import annotations

OTHER = "other"

_SUFFIXES: dict[str, tuple[str, ...]] = {
    "gmail": ("gmail.com", "googlemail.com", "google.com"),
    "outlook": (
        "outlook.com",
        "office365.com",
        "hotmail.com",
        "live.com",
        "outlook.office365.us",
        "partner.outlook.cn",
    ),
    "yahoo": ("yahoo.com", "yahoodns.net", "aol.com"),
    "icloud": ("icloud.com", "me.com", "mac.com"),
    "zoho": ("zoho.com", "zoho.eu", "zohomail.com", "zoho.in"),
    "fastmail": ("fastmail.com", "messagingengine.com"),
    "gmx": ("gmx.net", "gmx.com", "web.de", "kundenserver.de"),
    "ovh": ("ovh.net", "ovh.com"),
    "yandex": ("yandex.ru", "yandex.com", "yandex.net"),
}
_OAUTH_ONLY = {"gmail": "Google", "outlook": "Microsoft"}
_BY_SUFFIX = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}


def provider_name_for(host: str) -> str:
    """`gmail`, `outlook`, ... or `other`, for the host of an IMAP, SMTP or MX server.

    Mailbox domains (such as `gmail.com` itself) are recognised as well.
    """
    labels = host.rstrip(".").lower().split(".")
    for start in range(len(labels)):
        name = _BY_SUFFIX.get(".".join(labels[start:]))
        if name is not None:
            return name
    return OTHER


def oauth_owner(host: str) -> str | None:
    """Who runs this host and wants OAuth in place of passwords: "Google", "Microsoft" or None."""
    return _OAUTH_ONLY.get(provider_name_for(host))
