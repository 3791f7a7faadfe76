"""What is sealed opens with exactly its key, its binding and its bytes, and with nothing else."""

from __future__ import annotations

import hashlib
import itertools
import pickle
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailhearth_core.errors import InvalidValue
from mailhearth_core.mail.model import TlsMode
from mailhearth_core.sealing import (
    Binding,
    OAuthDestination,
    PasswordDestination,
    PrivateKey,
    SealBroken,
    fingerprint,
    open_sealed,
    seal,
)
from mailhearth_core.secrets import Secret

KEY = PrivateKey.generate()
CA = hashlib.sha256(b"a CA").digest()
AT = PasswordDestination("imap.example.org", 993, TlsMode.IMPLICIT, CA, "ann@example.org")
OAUTH = OAuthDestination("https://login.example.org/token", "client-1")
BINDING = Binding(UUID(int=1), UUID(int=2), "imap_password", 3, AT)
OAUTH_BINDING = replace(BINDING, field="refresh_token", destination=OAUTH)

OTHERS = [
    replace(BINDING, workspace_id=UUID(int=9)),
    replace(BINDING, mailbox_id=UUID(int=9)),
    replace(BINDING, workspace_id=UUID(int=2), mailbox_id=UUID(int=1)),
    replace(BINDING, field="smtp_password"),
    replace(BINDING, key_version=4),
    replace(BINDING, destination=replace(AT, host="imap.evil.example")),
    replace(BINDING, destination=replace(AT, port=143)),
    replace(BINDING, destination=replace(AT, tls=TlsMode.STARTTLS)),
    replace(BINDING, destination=replace(AT, tls=TlsMode.NONE)),
    replace(BINDING, destination=replace(AT, ca_sha256=None)),
    replace(BINDING, destination=replace(AT, ca_sha256=hashlib.sha256(b"b").digest())),
    replace(BINDING, destination=replace(AT, username="bob@example.org")),
    # the same bytes with the border between two parts moved
    replace(BINDING, field="imap_passwor", destination=replace(AT, host="dimap.example.org")),
    replace(BINDING, destination=OAUTH),
]
OAUTH_OTHERS = [
    replace(OAUTH_BINDING, destination=replace(OAUTH, token_endpoint="https://evil.example/token")),
    replace(OAUTH_BINDING, destination=replace(OAUTH, client_id="client-2")),
    replace(
        OAUTH_BINDING,
        destination=OAuthDestination("https://login.example.org/tokenc", "lient-1"),
    ),
]


@settings(derandomize=True, database=None, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_text_comes_back(text: str) -> None:
    assert open_sealed(KEY, BINDING, seal(KEY.public_bytes, BINDING, Secret(text))) == Secret(text)


@pytest.mark.parametrize("other", OTHERS)
def test_each_part_of_the_binding_counts(other: Binding) -> None:
    blob = seal(KEY.public_bytes, BINDING, Secret("hunter2"))
    with pytest.raises(SealBroken) as caught:
        open_sealed(KEY, other, blob)
    assert caught.value.permanent
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("other", OAUTH_OTHERS)
def test_each_part_of_an_oauth_binding_counts(other: Binding) -> None:
    blob = seal(KEY.public_bytes, OAUTH_BINDING, Secret("refresh"))
    assert open_sealed(KEY, OAUTH_BINDING, blob).reveal() == "refresh"
    with pytest.raises(SealBroken):
        open_sealed(KEY, other, blob)


def test_bindings_never_share_their_encoding() -> None:
    infos = [b.info() for b in (BINDING, *OTHERS, OAUTH_BINDING, *OAUTH_OTHERS)]
    for one, two in itertools.combinations(infos, 2):
        assert one != two


def test_every_changed_or_missing_byte_breaks_the_seal() -> None:
    blob = seal(KEY.public_bytes, BINDING, Secret("hunter2"))
    for at in range(len(blob)):
        changed = bytearray(blob)
        changed[at] ^= 1
        with pytest.raises(SealBroken):
            open_sealed(KEY, BINDING, bytes(changed))
    for wrong in (b"", blob[:1], blob[:40], blob[:-1], blob + b"\x00", b"\x02" + blob[1:]):
        with pytest.raises(SealBroken):
            open_sealed(KEY, BINDING, wrong)


def test_another_key_does_not_open() -> None:
    blob = seal(KEY.public_bytes, BINDING, Secret("hunter2"))
    with pytest.raises(SealBroken, match="key version 3"):
        open_sealed(PrivateKey.generate(), BINDING, blob)


def test_a_host_is_the_same_in_any_case_and_with_a_root_dot() -> None:
    blob = seal(KEY.public_bytes, BINDING, Secret("hunter2"))
    same = replace(BINDING, destination=replace(AT, host="IMAP.Example.org."))
    assert open_sealed(KEY, same, blob).reveal() == "hunter2"


def test_records_are_fresh_and_tell_no_length() -> None:
    blobs = [seal(KEY.public_bytes, BINDING, Secret("x" * length)) for length in (1, 1, 8, 63)]
    assert len({blob[1:33] for blob in blobs}) == 4  # encapsulated keys
    assert len({len(blob) for blob in blobs}) == 1


def test_unusable_public_keys_are_refused() -> None:
    for wrong in (b"", bytes(31), bytes(32), bytes(33)):  # 32 zeros: a point of small order
        with pytest.raises(InvalidValue, match="X25519"):
            seal(wrong, BINDING, Secret("hunter2"))
    with pytest.raises(InvalidValue):
        PrivateKey(bytes(31))
    with pytest.raises(InvalidValue):
        replace(AT, ca_sha256=b"short")


def test_a_private_key_shows_only_its_fingerprint() -> None:
    key = PrivateKey(bytes(range(32)))
    assert key.fingerprint == fingerprint(key.public_bytes)
    assert key.fingerprint == hashlib.sha256(key.public_bytes).hexdigest()
    assert key.raw().hex() not in repr(key)
    assert PrivateKey(key.raw()).fingerprint == key.fingerprint
    with pytest.raises(TypeError):
        pickle.dumps(key)
