"""Which folder is Junk, Sent, Trash, Drafts: by RFC 6154 attribute, else by well-known name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NO_SELECT = {"\\noselect", "\\nonexistent"}
_ATTRIBUTE = {"\\junk": "junk", "\\sent": "sent", "\\trash": "trash", "\\drafts": "drafts"}
# XLIST, the ancestor of RFC 6154 at Google, used this one.
_ATTRIBUTE["\\spam"] = "junk"
_EVERYTHING = {"\\all", "\\allmail"}
_VIEWS = {"\\flagged", "\\starred", "\\important"}
"""Folders that show messages of others (RFC 6154 section 2, RFC 8457; XLIST's names)."""

_NAMES: dict[str, tuple[str, ...]] = {
    "junk": (
        "junk", "spam", "junk e-mail", "junk email", "junk mail", "bulk mail", "bulk",
        "junk-e-mail", "spamverdacht", "unerwünscht", "werbung",  # German
        "courrier indésirable", "indésirables", "pourriel",  # French
        "correo no deseado", "no deseado", "correo basura",  # Spanish
        "posta indesiderata", "indesiderata",  # Italian
        "lixo eletrônico", "lixo electrónico", "correio eletrónico de lixo",  # Portuguese
        "ongewenste e-mail", "ongewenst", "reclame",  # Dutch
        "skräppost", "uønsket e-mail", "søppelpost", "roskaposti",  # Nordic
        "wiadomości-śmieci", "wiadomości śmieci", "niechciane",  # Polish
        "nevyžádaná pošta", "levélszemét",  # Czech, Hungarian
        "спам", "нежелательная почта",  # Russian
        "önemsiz", "önemsiz e-posta", "gereksiz",  # Turkish
        "垃圾邮件", "垃圾郵件", "迷惑メール", "스팸",  # Chinese, Japanese, Korean
    ),
    "sent": (
        "sent", "sent items", "sent mail", "sent messages", "sent-mail",
        "gesendet", "gesendete elemente", "gesendete objekte", "postausgang",
        "éléments envoyés", "messages envoyés", "envoyés",
        "enviados", "elementos enviados", "mensajes enviados",
        "posta inviata", "inviata", "inviati",
        "itens enviados", "mensagens enviadas",
        "verzonden items", "verzonden",
        "skickat", "sendt post", "sendt", "lähetetyt",
        "wysłane", "elementy wysłane",
        "odeslaná pošta", "elküldött",
        "отправленные", "gönderilmiş öğeler", "gönderilmiş",
        "已发送", "已发送邮件", "寄件備份", "送信済み", "送信済みアイテム", "보낸편지함",
    ),
    "trash": (
        "trash", "deleted items", "deleted messages", "deleted", "bin",
        "papierkorb", "gelöschte elemente", "gelöscht",
        "corbeille", "éléments supprimés",
        "papelera", "elementos eliminados",
        "cestino", "posta eliminata",
        "lixeira", "itens excluídos", "itens eliminados",
        "prullenbak", "verwijderde items",
        "papperskorgen", "slettet post", "papirkurv", "roskakori",
        "kosz", "elementy usunięte",
        "koš", "odstraněná pošta", "kuka", "törölt elemek",
        "корзина", "удаленные", "çöp kutusu", "silinmiş öğeler",
        "已删除", "已删除邮件", "刪除的郵件", "ゴミ箱", "削除済みアイテム", "휴지통",
    ),
    "drafts": (
        "drafts", "draft", "entwürfe", "brouillons", "borradores", "bozze", "rascunhos",
        "concepten", "utkast", "kladder", "luonnokset", "wersje robocze", "szkice", "koncepty",
        "piszkozatok", "черновики", "taslaklar", "草稿", "草稿箱", "下書き", "임시보관함",
    ),
}  # fmt: skip
_ROLE_BY_NAME = {name: role for role, names in _NAMES.items() for name in names}


@dataclass(frozen=True, slots=True)
class ListedFolder:
    """One line of a LIST answer: attributes, hierarchy delimiter (None: flat), decoded name."""

    attributes: tuple[str, ...]
    delimiter: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Folders:
    """A mailbox's folders by role; `others` are all selectable folders without one.

    `everything` shows all messages once more (Gmail's All Mail): what is found nowhere else may be
    there, but it is no further copy. Other views of messages that lie elsewhere are left out.
    """

    inbox: str = "INBOX"
    junk: str | None = None
    sent: str | None = None
    trash: str | None = None
    drafts: str | None = None
    others: tuple[str, ...] = ()
    everything: str | None = None


def assign_roles(listed: Iterable[ListedFolder]) -> Folders:
    """Gives each role to the folder that carries its attribute, else to the one of a known name.

    Among names the least nested folder wins, so `Junk` beats `Archive/Old/Junk`.
    """
    shown = [f for f in listed if not _NO_SELECT & _lower(f)]
    everything = next((f.name for f in shown if _EVERYTHING & _lower(f)), None)
    selectable = [f for f in shown if not (_VIEWS | _EVERYTHING) & _lower(f)]
    roles: dict[str, str] = {}
    for folder in selectable:
        for attribute in folder.attributes:
            role = _ATTRIBUTE.get(attribute.lower())
            if role is not None:
                roles.setdefault(role, folder.name)
    taken = set(roles.values())
    for folder in sorted(selectable, key=_depth):
        role = _ROLE_BY_NAME.get(_leaf(folder).casefold())
        if role is not None and role not in roles and folder.name not in taken:
            roles[role] = folder.name
            taken.add(folder.name)
    others = [f.name for f in selectable if f.name not in taken and f.name.upper() != "INBOX"]
    return Folders(
        junk=roles.get("junk"),
        sent=roles.get("sent"),
        trash=roles.get("trash"),
        drafts=roles.get("drafts"),
        others=tuple(others),
        everything=everything,
    )


def full_name(name: str, prefix: str, delimiter: str | None) -> str:
    """The server's name for `name`, whose levels are parted by "/": below the personal namespace.

    On a flat server the levels are joined by "-".
    """
    parts: Sequence[str] = [part for part in name.split("/") if part]
    joined = (delimiter or "-").join(parts)
    return joined if prefix and joined.startswith(prefix) else prefix + joined


def _lower(folder: ListedFolder) -> set[str]:
    return {attribute.lower() for attribute in folder.attributes}


def _depth(folder: ListedFolder) -> int:
    return folder.name.count(folder.delimiter) if folder.delimiter else 0


def _leaf(folder: ListedFolder) -> str:
    return folder.name.rpartition(folder.delimiter)[2] if folder.delimiter else folder.name
