"""Keys in files: made once, durable, private, and never made anew."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from mailhearth_core.errors import Conflict, InvalidValue, KeysMissing
from mailhearth_core.keystore import KeyExposed, KeyFolder, KeyReader, KeyStore
from mailhearth_core.sealing import (
    Binding,
    OAuthDestination,
    PrivateKey,
    fingerprint,
    open_sealed,
    seal,
)
from mailhearth_core.secrets import Secret
from mailhearth_local.keystore import FileKeyStore

ANN, BOB = UUID(int=1), UUID(int=2)


@pytest.fixture
def store(tmp_path: Path) -> FileKeyStore:
    return FileKeyStore(tmp_path / "keys")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_web_seals_and_a_worker_opens(store: FileKeyStore) -> None:
    port: KeyStore = store
    reader: KeyReader = KeyFolder(store.folder)
    public = port.create(ANN, 1)
    binding = Binding(ANN, UUID(int=5), "refresh_token", 1, OAuthDestination("https://a", "b"))
    blob = seal(public, binding, Secret("hunter2"))
    key = reader.open(ANN, 1, fingerprint(public))
    assert open_sealed(key, binding, blob).reveal() == "hunter2"
    assert reader.fingerprint(ANN, 1) == fingerprint(public)


def test_files_are_private_whatever_the_umask(store: FileKeyStore) -> None:
    before = os.umask(0)
    try:
        store.create(ANN, 1)
    finally:
        os.umask(before)
    path = store.path(ANN, 1)
    assert (mode(path), mode(path.parent), mode(store.folder)) == (0o600, 0o700, 0o700)
    assert [entry.name for entry in path.parent.iterdir()] == ["1"]  # no draft is left


def test_a_version_is_never_replaced(store: FileKeyStore) -> None:
    store.create(ANN, 1)
    kept = store.path(ANN, 1).read_bytes()
    with pytest.raises(Conflict):
        store.create(ANN, 1)
    assert store.path(ANN, 1).read_bytes() == kept
    assert [entry.name for entry in store.path(ANN, 1).parent.iterdir()] == ["1"]


def test_of_many_at_once_one_makes_it(store: FileKeyStore) -> None:
    def attempt(_: int) -> bytes | None:
        try:
            return store.create(ANN, 1)
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [public for public in pool.map(attempt, range(24)) if public is not None]
    assert [fingerprint(public) for public in made] == [store.fingerprint(ANN, 1)]


def test_versions_are_listed_in_order_and_per_workspace(store: FileKeyStore) -> None:
    for version in (10, 2, 1):
        store.create(ANN, version)
    (store.path(ANN, 1).parent / "..data").mkdir()  # as in a mounted Secret
    (store.path(ANN, 1).parent / "007").write_bytes(b"")
    assert store.versions(ANN) == [1, 2, 10]
    assert store.versions(BOB) == []


def test_a_missing_or_other_key_is_an_error_and_is_not_made(store: FileKeyStore) -> None:
    public = store.create(ANN, 1)
    with pytest.raises(KeysMissing, match="version 2"):
        store.open(ANN, 2)
    with pytest.raises(KeysMissing):
        store.open(BOB, 1)
    with pytest.raises(KeysMissing, match="another key"):
        store.open(ANN, 1, fingerprint(PrivateKey.generate().public_bytes))
    store.path(ANN, 1).write_bytes(b"cut off")
    with pytest.raises(KeysMissing, match="32 raw bytes"):
        store.open(ANN, 1, fingerprint(public))
    assert store.versions(BOB) == []


@pytest.mark.parametrize("exposed", [0o604, 0o640, 0o660, 0o620, 0o602])
def test_a_key_others_can_reach_is_refused(store: FileKeyStore, exposed: int) -> None:
    store.create(ANN, 1)
    store.path(ANN, 1).chmod(exposed)
    with pytest.raises(KeyExposed, match="chmod 600"):
        store.open(ANN, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_mounted_secret_of_another_owner_may_be_read_by_the_group(store: FileKeyStore) -> None:
    store.create(ANN, 1)
    path = store.path(ANN, 1)
    os.chown(path, 12345, os.getgid())
    path.chmod(0o440)
    assert store.open(ANN, 1).fingerprint
    for exposed in (0o460, 0o444):
        path.chmod(exposed)
        with pytest.raises(KeyExposed):
            store.open(ANN, 1)


def test_a_mounted_secret_is_reached_through_its_links(store: FileKeyStore) -> None:
    public = store.create(ANN, 1)
    folder = store.path(ANN, 1).parent
    (folder / "..2026").mkdir()
    store.path(ANN, 1).rename(folder / "..2026" / "1")
    (folder / "..data").symlink_to("..2026")
    (folder / "1").symlink_to("..data/1")
    assert KeyFolder(store.folder).open(ANN, 1).public_bytes == public
    assert store.versions(ANN) == [1]


def test_destroying_is_final_and_can_be_repeated(store: FileKeyStore) -> None:
    store.create(ANN, 1)
    store.destroy(ANN, 1)
    store.destroy(ANN, 1)
    store.destroy(BOB, 1)
    with pytest.raises(KeysMissing):
        store.open(ANN, 1)


def test_versions_start_at_one(store: FileKeyStore) -> None:
    for wrong in (0, -1):
        with pytest.raises(InvalidValue):
            store.create(ANN, wrong)
