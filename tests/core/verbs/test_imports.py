"""A CSV of mailboxes: what is said of each row, where its passwords go, and all or nothing."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from database import ACTOR, TestInstallation
from mailhearth_core.errors import Conflict, NotFound
from mailhearth_core.sealing import Binding, open_sealed
from mailhearth_core.verbs import import_file, imports
from mailhearth_core.verbs.credentials import Sealer, destinations
from mailhearth_core.verbs.import_file import UnreadableFile
from mailhearth_core.verbs.mailbox_spec import MailboxSpec

HEADER = "address,imap,smtp,password,name,timezone,pool,consent\n"


def line(address: str, password: str = "pass-1", **cells: str) -> str:
    values = {
        "address": address, "imap": "mail.one.test:993", "smtp": "mail.one.test:465",
        "password": password, "name": "", "timezone": "Europe/Berlin", "pool": "", "consent": "yes",
    } | cells  # fmt: skip
    return ",".join(values.values()) + "\n"


def mistakes(text: str, **options: bool) -> list[list[tuple[str, str]]]:
    rows = import_file.read(import_file.decode(text.encode()), **options)  # type: ignore[arg-type]
    return [[(m.column, m.text) for m in row.mistakes] for row in rows]


def test_each_row_is_told_its_own_mistakes_by_column_and_never_its_cells() -> None:
    secret = "canary-secret"
    text = HEADER + "".join(
        [
            line("ann@one.test"),
            line("ANN@one.test"),
            line(secret, imap=secret, smtp=f"{secret}:x", timezone=secret, consent=secret),
            line("bob@one.test", password="", name='=HYPERLINK("http://x")'),
            line("bob@one.test", password="=1+1"),
            "one,two\n",
            line("eve@gmail.com", imap="", smtp=""),
            line("joe@gmx.de", imap="", smtp=""),
            line("zoe@proton.me"),
            line("kim@two.test", imap="", smtp="", name="+49 1"),
            line("kim@two.test", imap="", smtp=""),
        ]
    )
    told = mistakes(text)
    assert secret not in json.dumps(told)
    assert [[column for column, _ in row] for row in told] == [
        [], ["address"], ["address", "imap", "smtp", "timezone", "consent"], ["name"], ["address"],
        [""], ["address"], [], ["address"], ["name"], ["imap", "smtp", "address"],
    ]  # fmt: skip
    assert told[1] == [("address", "is on line 2 already")]
    assert "formula" in told[3][0][1]
    assert "Google takes no passwords" in told[6][0][1]
    assert mistakes(HEADER + line("eve@gmail.com", imap="", smtp=""), allow_app_passwords=True) == [
        []
    ]


@pytest.mark.parametrize(
    ("codec", "name", "guessed"),
    [
        ("utf-8", "UTF-8", False),
        ("utf-8-sig", "UTF-8", False),
        ("utf-16", "UTF-16", False),
        ("utf-16-le", "UTF-16", True),
        ("utf-16-be", "UTF-16", True),
        ("cp1252", "Windows-1252", True),
    ],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_encodings_and_separators_of_spreadsheets(
    codec: str, name: str, guessed: bool, separator: str
) -> None:
    text = (HEADER + line("ann@one.test", name="Jürgen", password="pässwört")).replace(
        ",", separator
    )
    decoded = import_file.decode(text.encode(codec))
    assert (decoded.encoding, decoded.guessed) == (name, guessed)
    (row,) = import_file.read(decoded)
    assert row.spec is not None
    assert (row.spec.display_name, row.spec.password.reveal()) == ("Jürgen", "pässwört")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b" \r\n", "empty"),
        (b"PK\x03\x04rest", "workbook"),
        (b"\xef\xbb\xbfaddress\xff", "no text in UTF-8"),
        (b"a,b\n\x81\x8d", "no text in Windows-1252 .line 2"),
        (HEADER.encode(), "no rows"),
        (b"ann@one.test,hunter2\n", "missing: address, password; no column of ours.*: 1, 2"),
        (b"address,password,tls,tls\nx,y,,\n", "there twice: tls"),
        (b'address,password\nann@gmx.de,"' + b"x" * 200_000, "Around line"),
        (b"address,password\n" + b"\xff" * 70_000 + b"\n\x81", "Windows-1252 .line 3"),
        (b"x" * (import_file.MAX_BYTES + 1), "15,728,641 bytes; one import takes 15,728,640"),
        (b"address,password\n" + b"a,b\n\n , \n" * 100_001, "has 100,001 rows; .* 100,000"),
    ],
)
def test_what_is_no_list_is_said_in_one_sentence(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason) as told:
        next(iter(import_file.read(import_file.decode(data))))
    assert "hunter2" not in str(told.value)


@pytest.fixture
def place(installation: TestInstallation) -> tuple[UUID, UUID]:
    workspace = installation.workspace()
    return workspace, installation.pool(workspace)


def prepare(installation: TestInstallation, place: tuple[UUID, UUID], text: str) -> UUID:
    return imports.prepare(
        installation.web_door,
        place[0],
        text.encode(),
        file_name="C:\\team\\list.csv",
        pool_id=place[1],
        consent="none",
    )


def count(installation: TestInstallation, table: str) -> int:
    return int(installation.one(f"SELECT count(*) AS n FROM {table}")["n"])


def test_a_good_file_becomes_mailboxes_whose_passwords_were_never_in_clear(
    installation: TestInstallation, place: tuple[UUID, UUID]
) -> None:
    workspace, pool = place
    other = installation.pool(workspace, "other")
    text = HEADER + line("ann@one.test", "canary-1", name="Ann") + line(
        "bob@one.test", "canary-2", pool="other", consent="no", timezone="Asia/Tokyo"
    )  # fmt: skip
    import_id = prepare(installation, place, text)
    held = imports.look(installation.web_door, workspace, import_id)
    assert (held.rows, held.wrong, held.is_whole, held.file_name) == (2, 0, True, "list.csv")
    dump = installation.rows("SELECT r.*::text AS row FROM mailbox_import_rows r")
    assert all(b"canary" not in str(row).encode() for row in dump)
    assert count(installation, "mailboxes") == 0

    added = imports.carry_out(installation.web_door, workspace, import_id, ACTOR, only_good=False)
    assert added == 2
    made = installation.rows(
        "SELECT m.*, s.field, s.key_version, s.sealed FROM mailboxes m JOIN sealed_credentials s "
        "ON s.mailbox_id = m.id WHERE s.field = 'smtp_password' ORDER BY m.address"
    )
    assert [(row["pool_id"], row["consent"], row["peer_provider"]) for row in made] == [
        (pool, "workspace", "other"), (other, "none", "other"),
    ]  # fmt: skip
    assert made[0]["seed"] != made[1]["seed"]
    for row, password in zip(made, ("canary-1", "canary-2"), strict=True):
        fingerprint = installation.one("SELECT fingerprint FROM key_versions")["fingerprint"]
        key = installation.keys.open(workspace, row["key_version"], fingerprint)
        where = destinations(row)["smtp_password"]
        binding = Binding(workspace, row["id"], "smtp_password", row["key_version"], where)
        assert open_sealed(key, binding, bytes(row["sealed"])).reveal() == password
    polls = installation.rows("SELECT mailbox_id FROM action WHERE kind = 'poll'")
    assert [row["mailbox_id"] for row in polls] == [made[0]["id"]]
    ledger = installation.rows("SELECT scope FROM consent_ledger ORDER BY scope")
    assert [row["scope"] for row in ledger] == ["none", "workspace"]
    assert count(installation, "mailbox_leases") == 2
    assert count(installation, "mailbox_import_rows") == 0
    with pytest.raises(NotFound, match="over"):
        imports.carry_out(installation.web_door, workspace, import_id, ACTOR, only_good=True)
    assert count(installation, "mailboxes") == 2


def test_one_mistake_stops_the_whole_file_unless_the_good_rows_alone_are_wanted(
    installation: TestInstallation, place: tuple[UUID, UUID]
) -> None:
    workspace, pool = place
    installation.mailbox(workspace, pool, "old@one.test")
    text = HEADER + "".join(
        [
            line("ann@one.test"),
            line("old@one.test"),
            line("bob@one.test", pool="nowhere"),
            line("cat@one.test", pool="main"),
        ]
    )
    import_id = prepare(installation, place, text)
    wrong = imports.rows_of(installation.web_door, workspace, import_id, only_wrong=True, limit=10)
    assert [(row["line"], row["errors"][0]["column"]) for row in wrong] == [
        (3, "address"), (4, "pool"),
    ]  # fmt: skip
    with pytest.raises(Conflict, match="cannot be imported"):
        imports.carry_out(installation.web_door, workspace, import_id, ACTOR, only_good=False)
    assert count(installation, "mailboxes") == 1
    installation.mailbox(workspace, pool, "cat@one.test")  # by another way meanwhile
    added = imports.carry_out(installation.web_door, workspace, import_id, ACTOR, only_good=True)
    assert added == 1
    assert count(installation, "mailboxes") == 3


def test_an_address_that_came_in_meanwhile_or_a_lost_key_leaves_nothing_half_done(
    installation: TestInstallation, place: tuple[UUID, UUID]
) -> None:
    workspace, pool = place
    import_id = prepare(installation, place, HEADER + line("ann@one.test") + line("bob@one.test"))
    installation.mailbox(workspace, pool, "bob@one.test")
    with pytest.raises(Conflict, match=r"bob@one.test \(line 3\)"):
        imports.carry_out(installation.web_door, workspace, import_id, ACTOR, only_good=False)
    installation.rows("UPDATE key_versions SET state = 'destroyed'")
    with pytest.raises(Conflict, match="key"):
        imports.carry_out(installation.web_door, workspace, import_id, ACTOR, only_good=True)
    assert count(installation, "mailboxes") == 1
    assert imports.look(installation.web_door, workspace, import_id).good == 2


def test_another_workspace_sees_no_import_and_an_old_one_is_forgotten(
    installation: TestInstallation, place: tuple[UUID, UUID]
) -> None:
    import_id = prepare(installation, place, HEADER + line("ann@one.test"))
    south = installation.workspace("south")
    for act in (
        lambda: imports.look(installation.web_door, south, import_id),
        lambda: imports.carry_out(installation.web_door, south, import_id, ACTOR, only_good=True),
    ):
        with pytest.raises(NotFound):
            act()
    assert imports.rows_of(installation.web_door, south, import_id, only_wrong=False, limit=5) == []
    installation.rows("UPDATE mailbox_imports SET expires_at = created_at")
    with pytest.raises(NotFound):
        imports.look(installation.web_door, place[0], import_id)
    with installation.database("scheduler").tx() as conn:
        conn.execute("SELECT sched.settle(clock_timestamp(), NULL)").fetchall()
    assert count(installation, "mailbox_import_rows") == 0


def test_what_breaks_off_half_way_leaves_no_import(
    installation: TestInstallation, place: tuple[UUID, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is kept batch by batch; the last row of this one cannot be sealed."""
    monkeypatch.setattr(imports, "BATCH", 2)
    text = HEADER + "".join(line(f"a{n}@one.test") for n in range(5))
    import_id = prepare(installation, place, text)
    assert imports.look(installation.web_door, place[0], import_id).good == 5
    imports.drop(installation.web_door, place[0], import_id)
    seal, kept = Sealer.seal, []

    def breaking(sealer: Sealer, mailbox_id: UUID, spec: MailboxSpec) -> dict[str, bytes]:
        if spec.address == "a4@one.test":
            kept.append(count(installation, "mailbox_import_rows"))
            raise OSError("out of randomness")
        return seal(sealer, mailbox_id, spec)

    monkeypatch.setattr(Sealer, "seal", breaking)
    with pytest.raises(OSError, match="randomness"):
        prepare(installation, place, text)
    assert kept == [4]
    assert count(installation, "mailbox_imports") + count(installation, "mailbox_import_rows") == 0
