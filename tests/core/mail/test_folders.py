"""Which folder plays which role."""

from __future__ import annotations

import pytest

from mailhearth_core.mail.folders import Folders, ListedFolder, assign_roles, full_name


def listed(*names: str, delimiter: str | None = "/") -> list[ListedFolder]:
    return [ListedFolder((), delimiter, name) for name in names]


def test_attributes_win_over_names_and_containers_do_not_count() -> None:
    found = assign_roles(
        [
            ListedFolder((), "/", "INBOX"),
            ListedFolder(("\\Noselect", "\\HasChildren"), "/", "[Gmail]"),
            ListedFolder(("\\All",), "/", "[Gmail]/Alle Nachrichten"),
            ListedFolder(("\\JUNK",), "/", "[Gmail]/Quarantine"),
            ListedFolder(("\\Trash",), "/", "[Gmail]/Papierkorb"),
            ListedFolder((), "/", "Spam"),
            ListedFolder((), "/", "Sent"),
        ]
    )
    assert found == Folders(
        junk="[Gmail]/Quarantine",
        sent="Sent",
        trash="[Gmail]/Papierkorb",
        others=("Spam",),
        everything="[Gmail]/Alle Nachrichten",
    )


@pytest.mark.parametrize(
    ("junk", "sent", "trash"),
    [
        ("Junk Email", "Sent Items", "Deleted Items"),
        ("Spamverdacht", "Gesendet", "Papierkorb"),
        ("Courrier indésirable", "Éléments envoyés", "Corbeille"),
        ("Correo no deseado", "Elementos enviados", "Papelera"),
        ("Posta indesiderata", "Posta inviata", "Cestino"),
        ("Lixo Eletrônico", "Itens Enviados", "Lixeira"),
        ("Ongewenste e-mail", "Verzonden items", "Prullenbak"),
        ("Wiadomości-śmieci", "Wysłane", "Kosz"),
        ("Спам", "Отправленные", "Корзина"),
        ("迷惑メール", "送信済みアイテム", "ゴミ箱"),
        ("垃圾邮件", "已发送", "已删除"),
    ],
)
def test_well_known_names_in_many_languages(junk: str, sent: str, trash: str) -> None:
    prefix = "INBOX."
    found = assign_roles(
        listed("INBOX", *(prefix + n for n in (junk, sent, trash, "Work")), delimiter=".")
    )
    assert (found.junk, found.sent, found.trash) == (prefix + junk, prefix + sent, prefix + trash)
    assert found.others == (prefix + "Work",)


def test_the_least_nested_name_wins() -> None:
    assert assign_roles(listed("Archive/Old/Junk", "Junk")).junk == "Junk"


@pytest.mark.parametrize(
    ("prefix", "delimiter", "expected"),
    [
        ("", "/", "Mailhearth/Done"),
        ("INBOX.", ".", "INBOX.Mailhearth.Done"),
        ("", None, "Mailhearth-Done"),
    ],
)
def test_names_follow_the_namespace(prefix: str, delimiter: str | None, expected: str) -> None:
    assert full_name("Mailhearth/Done", prefix, delimiter) == expected
    if delimiter == ".":
        assert full_name("INBOX.Sent", prefix, delimiter) == "INBOX.Sent"
