"""Keys of one machine saved and brought back: what is written, refused, removed, left alone."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyrage
import pytest

from cli import CommandLine
from mailhearth_core.errors import InvalidValue, MailhearthError, NotFound
from mailhearth_core.sealing import PrivateKey
from mailhearth_local.keystore import FileKeyStore
from mailhearth_local.saved_keys import work
from mailhearth_local.saved_keys.bundle import (
    BackupDamaged,
    Bundle,
    SavedKey,
    WrongIdentity,
    decrypt,
    encrypt,
)
from mailhearth_local.saved_keys.places import FolderPlace

ANN, BOB = UUID(int=1), UUID(int=2)


class Identity:
    """An age identity as `age-keygen` would write it."""

    def __init__(self) -> None:
        made = pyrage.x25519.Identity.generate()
        self.recipient = str(made.to_public())
        self.text = f"# created: today\n# public key: {self.recipient}\n{made}\n"

    def file(self, folder: Path) -> str:
        path = folder / f"{self.recipient}.txt"
        path.write_text(self.text)
        return str(path)


@pytest.fixture
def store(tmp_path: Path) -> FileKeyStore:
    return FileKeyStore(tmp_path / "keys")


def place(store: FileKeyStore) -> FolderPlace:
    return FolderPlace(store, {ANN: "acme"})


def saved(store: FileKeyStore, out: Path, identity: Identity, **options: Any) -> work.Written:
    options = {"installation": "here", "known": {}, **options}
    return work.backup(place(store), out, [identity.recipient], **options)


def test_a_lost_folder_comes_back_with_one_of_two_identities(tmp_path: Path) -> None:
    run = CommandLine(tmp_path / "data")
    first, second, stranger = Identity(), Identity(), Identity()
    run.run("workspace", "create", "acme")
    folder = tmp_path / "data" / "keys"
    (path,) = folder.glob("*/1")
    kept = path.read_bytes()
    name = f"{path.parent.name}/1"
    made = run.json(
        *("keys", "backup", "--to", first.recipient, "--to", second.recipient),
        *("--out", str(tmp_path / "keys.age"), "--workspace", "acme"),
    )
    assert made == {
        "path": str(tmp_path / "keys.age"),
        "keys": [name],
        "missing": [],
        "removed": [],
    }
    assert stat.S_IMODE((tmp_path / "keys.age").stat().st_mode) == 0o600

    path.unlink()
    refused = run.run(
        *("keys", "restore", str(tmp_path / "keys.age"), "--json"),
        *("--identity", stranger.file(tmp_path)),
        code=1,
    )
    assert json.loads(refused.stderr)["error"]["code"] == "wrong_identity"
    back = ("keys", "restore", str(tmp_path / "keys.age"), "--identity", second.file(tmp_path))
    tried = run.json(*back, "--dry-run")
    assert [one["done"] for one in tried["keys"]] == ["restored"]
    assert not path.exists()

    done = run.json(*back)
    assert [(one["done"], one["where"]) for one in done["keys"]] == [("restored", str(path))]
    assert path.read_bytes() == kept
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (row,) = run.json("workspace", "list")
    assert row["reason"] == ""
    assert [one["done"] for one in run.json(*back)["keys"]] == ["present"]

    other = PrivateKey.generate()
    path.write_bytes(other.raw())
    opened = decrypt((tmp_path / "keys.age").read_bytes(), first.text)
    refused = run.run("keys", "restore", "-", "--json", given=opened.to_json(), code=1)
    (one,) = json.loads(refused.stdout)["keys"]
    assert one["done"] == "refused"
    assert other.fingerprint in one["why"]
    assert opened.keys[0].key.fingerprint in one["why"]
    assert path.read_bytes() == other.raw()
    assert run.run("keys", "restore", str(tmp_path / "keys.age"), code=2).stderr.count("age -d")


def test_a_person_can_read_what_is_in_it(store: FileKeyStore, tmp_path: Path) -> None:
    store.create(ANN, 1)
    store.create(ANN, 2)
    store.create(BOB, 1)
    identity = Identity()
    saved(store, tmp_path / "keys.age", identity)
    opened = pyrage.decrypt(
        (tmp_path / "keys.age").read_bytes(),
        [pyrage.x25519.Identity.from_str(identity.text.splitlines()[-1])],
    )
    found = json.loads(opened)
    assert list(found["keys"]) == [f"{ANN}/1", f"{ANN}/2", f"{BOB}/1"]
    assert found["keys"][f"{ANN}/2"]["fingerprint"] == store.fingerprint(ANN, 2)
    assert found["keys"][f"{ANN}/2"]["workspace"] == "acme"
    assert (found["format"], found["installation"]) == (1, "here")
    assert datetime.fromisoformat(found["made_at"]).tzinfo is not None
    # Nothing of it can be read without.
    raw = (tmp_path / "keys.age").read_bytes()
    assert store.open(ANN, 1).raw() not in raw
    assert str(ANN).encode() not in raw


BUNDLE = Bundle(
    "here", datetime(2026, 3, 1, tzinfo=UTC), (SavedKey(ANN, 1, PrivateKey(b"k" * 32)),)
)


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    found = json.loads(BUNDLE.to_json())
    change(found)
    return json.dumps(found)


def entry(found: dict[str, Any]) -> dict[str, Any]:
    one: dict[str, Any] = found["keys"][f"{ANN}/1"]
    return one


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices"),
        (changed(lambda f: f.update(what="a poem")), "it says it is 'a poem'"),
        (changed(lambda f: f.update(format=2)), "this version reads 1"),
        (changed(lambda f: f.pop("made_at")), "'made_at' is missing"),
        (changed(lambda f: f["keys"].update({f"{ANN}": {}})), "is not <workspace>/<version>"),
        (changed(lambda f: f["keys"].update({"../../x/1": entry(f)})), "is not <workspace>"),
        (changed(lambda f: f["keys"].update({"x/1": entry(f)})), "badly formed"),
        (changed(lambda f: f["keys"].update({f"{ANN}/0": entry(f)})), "is not <workspace>"),
        (changed(lambda f: entry(f).update(private="AAAA")), "is not a key of 32 bytes"),
        (changed(lambda f: entry(f).update(private="A" * 44)), "is not a key of 32 bytes"),
        (changed(lambda f: entry(f).update(fingerprint="0" * 64)), "has not the fingerprint"),
    ],
)
def test_what_is_no_backup_is_refused(text: str, told: str) -> None:
    with pytest.raises(BackupDamaged, match=told):
        Bundle.from_json(text)


def test_a_file_that_was_changed_anywhere_is_refused() -> None:
    identity = Identity()
    whole = encrypt(BUNDLE, [identity.recipient])
    assert decrypt(whole, identity.text).to_json() == BUNDLE.to_json()
    for at in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[at] ^= 1
        with pytest.raises((BackupDamaged, WrongIdentity)):
            decrypt(bytes(broken), identity.text)
    with pytest.raises(BackupDamaged):
        decrypt(whole[:-20], identity.text)


def test_a_slip_in_an_identity_is_told_without_it() -> None:
    identity = Identity()
    line = identity.text.splitlines()[-1]
    with pytest.raises(InvalidValue) as caught:
        decrypt(b"", line[:-1])
    assert line[20:40] not in str(caught.value)
    with pytest.raises(InvalidValue, match="AGE-SECRET-KEY-1"):
        decrypt(b"", "# nothing here\n")


def test_older_backups_of_that_name_are_removed_and_nothing_else(
    store: FileKeyStore, tmp_path: Path
) -> None:
    store.create(ANN, 1)
    folder = tmp_path / "backups"
    folder.mkdir()
    old = [folder / f"mh2-keys-2026030{day}T020000Z.age" for day in range(1, 5)]
    strangers = [
        folder / name
        for name in (
            "mh3-keys-20260101T020000Z.age",
            "mh2-keys-20260101T020000Z.age.bak",
            "mh2-keys-by-hand.age",
        )
    ]
    for path in [*old, *strangers]:
        path.write_text("old")
    out, identity = folder / "mh2-keys-{time}.age", Identity()
    done = saved(store, out, identity, keep=3)
    assert done.removed == old[:2]
    assert set(folder.iterdir()) == {*old[2:], *strangers, done.path}
    assert decrypt(done.path.read_bytes(), identity.text).keys[0].workspace_id == ANN

    # While a key is missing an older backup may be the only one that holds it.
    known = {(ANN, 1): work.Known("active", "x"), (BOB, 1): work.Known("retiring", "y")}
    gone = {**known, (BOB, 2): work.Known("destroyed", "z")}
    done = saved(store, out, identity, keep=1, known=gone)
    assert (done.missing, done.removed) == ([f"{BOB}/1"], [])
    assert saved(store, out, identity, keep=1, known=gone, only=ANN).removed
    with pytest.raises(InvalidValue, match="time"):
        saved(store, folder / "keys.age", identity, keep=3)


def test_a_backup_that_fails_leaves_the_one_before(store: FileKeyStore, tmp_path: Path) -> None:
    out = tmp_path / "keys.age"
    out.write_text("before")
    identity = Identity()
    with pytest.raises(NotFound, match="nothing was written"):
        saved(store, out, identity)
    store.create(ANN, 1)
    with pytest.raises(InvalidValue, match="age recipient"):
        work.backup(place(store), out, ["age1x"], installation="", known={})
    with pytest.raises(InvalidValue, match="folder that exists"):
        saved(store, tmp_path / "no" / "keys.age", identity)
    (tmp_path / "keys.age.d").mkdir()
    with pytest.raises(MailhearthError, match="cannot be written"):
        saved(store, tmp_path / "keys.age.d", identity)
    (tmp_path / "keys.age.d").rmdir()
    assert out.read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["keys", "keys.age"]
    (tmp_path / ".keys.age.part").write_text("of a run that was killed")
    saved(store, out, identity)
    assert sorted(os.listdir(tmp_path)) == ["keys", "keys.age"]


def test_what_the_database_says_is_heeded(store: FileKeyStore) -> None:
    keys = [SavedKey(ANN, version, PrivateKey.generate()) for version in (1, 2, 3)]
    bundle = Bundle("", datetime.now(UTC), (*keys, SavedKey(BOB, 1, PrivateKey.generate())))
    known = {
        (ANN, 1): work.Known("destroyed", keys[0].key.fingerprint),
        (ANN, 2): work.Known("active", "another"),
        (ANN, 3): work.Known("retiring", keys[2].key.fingerprint),
    }
    deeds = work.restore(place(store), bundle, known=known, only=ANN)
    assert [deed.done for deed in deeds] == [work.LEFT_OUT, work.REFUSED, work.RESTORED]
    assert "another" in deeds[1].why
    assert keys[1].key.fingerprint in deeds[1].why
    assert store.versions(ANN) == [3]
    assert store.versions(BOB) == []
    # What the database does not know at all belongs to another backup of it, perhaps: it comes.
    assert [deed.done for deed in work.restore(place(store), bundle, known=known)][-1] == "restored"
    assert store.versions(BOB) == [1]


def test_what_is_no_key_is_neither_taken_for_one_nor_replaced(store: FileKeyStore) -> None:
    key = SavedKey(ANN, 1, PrivateKey.generate())
    store.put(ANN, 1, key.key)
    store.path(ANN, 1).write_bytes(b"short")
    bundle = Bundle("", datetime.now(UTC), (key,))
    (deed,) = work.restore(place(store), bundle, known={})
    assert deed.done == work.REFUSED
    assert "is no key" in deed.why
    assert store.path(ANN, 1).read_bytes() == b"short"
