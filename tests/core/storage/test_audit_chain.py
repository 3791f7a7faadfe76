"""The audit chain on a real database: sealing, tampering behind its back, erasing, pruning."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from database import ACTOR, TestInstallation
from mailhearth_core.audit import chain as chain_module
from mailhearth_core.audit.checkpoints import Checkpoint, read_lines
from mailhearth_core.audit.verify import Fault, Report
from mailhearth_core.errors import InvalidValue, ServiceUnavailable
from mailhearth_core.ids import uuid7
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import audit as verbs
from mailhearth_core.verbs import workspaces
from mailhearth_core.verbs.wishes import Actor, audit
from mailhearth_worker.scheduler import seal as module
from mailhearth_worker.scheduler.seal import CHECKPOINTS_FILE, FOLDER, KEY_FILE, Signer, seal_events

SQL = named("audit")
ANN = Actor("ann@people.test", "web")


class Chain:
    """A workspace with events, a sealer and a signer."""

    def __init__(self, installation: TestInstallation, folder: Path) -> None:
        self.installation = installation
        self.workspace = installation.workspace()
        self.folder = folder
        self.output = io.StringIO()
        self.signer = Signer(folder, self.output)

    def tell(self, subject: str, actor: Actor = ACTOR, **detail: object) -> None:
        with self.installation.web_door.tenant_tx(self.workspace) as conn:
            audit(conn, self.workspace, "mailbox.paused", actor, subject, **detail)

    def seal(self) -> int:
        total = 0
        while True:
            with self.installation.database("scheduler").tx() as conn:
                done = seal_events(conn)
            if not done:
                return total
            total += done

    def sign(self) -> int:
        with self.installation.database("scheduler").tx() as conn:
            return self.signer.sign_heads(conn)

    def prune(self, before: datetime, batch: int = 1000) -> int:
        with self.installation.database("scheduler").tx() as conn:
            return int(SQL.prune_audit(conn, before=before, batch=batch, now=datetime.now(UTC)))

    @property
    def file(self) -> Path:
        return self.folder / FOLDER / CHECKPOINTS_FILE

    def anchors(self) -> list[Checkpoint]:
        return read_lines(self.file.read_text(), "anchor")

    def report(self, anchors: list[Checkpoint] | None = None) -> Report:
        reports = verbs.verify_all(self.installation.database("cli"), anchors or [])
        assert reports[0].scope == "platform"
        assert reports[0].faults == []
        return next(r for r in reports if r.scope == str(self.workspace))

    def faults(self, anchors: list[Checkpoint] | None = None) -> list[Fault]:
        return self.report(anchors).faults

    def rows(self, query: str, *values: object) -> list[dict[str, object]]:
        """As a superuser, past everything."""
        return self.installation.rows(query, *values)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """What is done to the events inside is undone."""
        self.rows("CREATE TABLE kept AS TABLE audit_events")
        yield
        self.rows("DELETE FROM audit_events")
        self.rows("INSERT INTO audit_events SELECT * FROM kept")
        self.rows("DROP TABLE kept")

    def id_at(self, seq: int) -> UUID:
        found: UUID = self.installation.one(
            "SELECT id FROM audit_events WHERE workspace_id = %s AND seq = %s", self.workspace, seq
        )["id"]
        return found


@pytest.fixture
def chain(installation: TestInstallation, tmp_path: Path) -> Chain:
    """Nine events more than the workspace's making left, sealed and signed."""
    made = Chain(installation, tmp_path / "data")
    for n in range(9):
        made.tell(f"box{n}@x.test", n=n)
    assert made.seal() >= 11
    assert made.sign() == 2
    return made


def test_a_chain_that_nobody_touched_is_whole(chain: Chain) -> None:
    report = chain.report(chain.anchors())
    assert report.faults == []
    assert (report.first, report.last, report.unsealed) == (1, report.events, 0)
    assert report.checkpoint == report.last
    assert (chain.seal(), chain.sign()) == (0, 0), "nothing moved, nothing is signed"
    chain.tell("later@x.test")
    assert chain.report().unsealed == 1


def test_events_that_arrive_late_or_out_of_order_get_a_place(chain: Chain) -> None:
    last = chain.report().last
    with (
        psycopg.connect(chain.installation.url("web").reveal()) as slow,
        psycopg.connect(chain.installation.url("web").reveal()) as slower,
    ):
        insert = (
            "INSERT INTO audit_events (workspace_id, id, action, actor, subject, at) "
            "VALUES (%s, %s, 'mailbox.paused', 'a', %s, %s)"
        )
        for conn, subject in ((slow, "first@x.test"), (slower, "second@x.test")):
            conn.execute(
                "SELECT set_config('mailhearth.workspace', %s, true)", [str(chain.workspace)]
            )
            values = (chain.workspace, uuid7(), subject, datetime(2020, 1, 1, tzinfo=UTC))
            conn.execute(insert, values)
        chain.tell("quick@x.test")
        assert chain.seal() == 1
        slower.commit()
        assert chain.seal() == 1
        slow.commit()
        assert chain.seal() == 1
    found = chain.rows("SELECT subject FROM audit_events WHERE seq > %s ORDER BY seq", last)
    assert [row["subject"] for row in found] == ["quick@x.test", "second@x.test", "first@x.test"]
    assert chain.faults(chain.anchors()) == []


# -- tampering ------------------------------------------------------------------------------------

CHANGE = "UPDATE audit_events SET {} WHERE seq = 5"
EDITS = {
    "actor": CHANGE.format("actor = 'mallory'"),
    "subject": CHANGE.format("subject = 'other@x.test'"),
    "detail": CHANGE.format("detail = jsonb_build_object('n', 99)"),
    "action": CHANGE.format("action = 'mailbox.active'"),
    "time": CHANGE.format("at = at - interval '1 microsecond'"),
    "time of sealing": CHANGE.format("sealed_at = sealed_at - interval '1 day'"),
    "id": CHANGE.format("id = uuid7()"),
}
UNSEAL = (
    "UPDATE audit_events SET seq = NULL, link = NULL, sealed_at = NULL, actor_digest = NULL, "
    "subject_digest = NULL, detail_digest = NULL WHERE "
)


def test_an_edited_row_is_named(chain: Chain) -> None:
    for what, edit in EDITS.items():
        with chain.restored():
            chain.rows(edit)
            (fault,) = chain.faults()
            assert (fault.seq, fault.event_id) == (5, chain.id_at(5)), what
            assert fault.kind == ("edited" if what in ("actor", "subject", "detail") else "broken")
            assert fault.kind == "broken" or what in fault.text
    assert chain.faults() == []


def test_an_edit_with_its_digest_and_link_made_to_fit_is_found_at_the_next(chain: Chain) -> None:
    chain.rows(CHANGE.format("actor = 'mallory', actor_digest = sha256('x'), link = sha256('y')"))
    assert {fault.seq for fault in chain.faults()} == {5, 6}


def test_removed_rows_are_named(chain: Chain) -> None:
    for first, last in ((5, 5), (4, 6), (1, 1), (1, 3)):
        with chain.restored():
            chain.rows("DELETE FROM audit_events WHERE seq BETWEEN %s AND %s", first, last)
            (fault,) = chain.faults()
            assert (fault.kind, fault.seq) == ("removed", first)
            assert str(last) in fault.text


def test_a_row_taken_out_of_the_chain_and_left_as_new_is_missing(chain: Chain) -> None:
    chain.rows(f"{UNSEAL} seq = 5")
    assert [(fault.kind, fault.seq) for fault in chain.faults()] == [("removed", 5)]
    chain.seal()
    assert [(fault.kind, fault.seq) for fault in chain.faults()] == [("removed", 5)]


def test_reordered_rows_are_named(chain: Chain) -> None:
    for before, after in ((5, 1_000_000), (6, 5), (1_000_000, 6)):
        chain.rows("UPDATE audit_events SET seq = %s WHERE seq = %s", after, before)
    found = chain.faults()
    assert {fault.kind for fault in found} == {"broken"}
    assert {chain.id_at(5), chain.id_at(6)} <= {fault.event_id for fault in found}


def test_a_row_put_in_twice_is_named(chain: Chain) -> None:
    chain.rows("DROP INDEX audit_events_chain")
    chain.rows("UPDATE audit_events SET seq = 5 WHERE seq = 6")
    assert ("repeated", 5) in [(fault.kind, fault.seq) for fault in chain.faults()]


def test_a_cut_off_end_is_found_only_by_what_was_kept_outside(chain: Chain) -> None:
    kept = chain.anchors()
    last = chain.report().last
    chain.rows("DELETE FROM audit_events WHERE seq > 7")
    assert [fault.kind for fault in chain.faults()] == ["cut_off"], "the database's own checkpoint"
    chain.rows("DELETE FROM audit_checkpoints")
    assert chain.faults() == [], "without an anchor nothing tells"
    (fault,) = chain.faults(kept)
    assert (fault.kind, fault.seq) == ("cut_off", last)
    assert f"events 8 to {last} are gone" in fault.text
    chain.tell("after@x.test")
    chain.seal()
    assert any(fault.kind in ("rewritten", "cut_off") for fault in chain.faults(kept))


def test_after_a_cut_the_sealer_takes_no_place_again(chain: Chain) -> None:
    last = chain.report().last
    chain.rows("DELETE FROM audit_events WHERE seq > 7")
    chain.tell("after@x.test")
    chain.seal()
    (fault,) = chain.faults()
    assert (fault.kind, fault.seq) == ("removed", 8)
    assert chain.report().last == last + 1


def test_a_chain_written_anew_differs_from_the_checkpoint(chain: Chain) -> None:
    """All rows after the fourth sealed once more, as whoever may write everything could do."""
    kept = chain.anchors()
    chain.rows("DELETE FROM audit_checkpoints")
    chain.rows("UPDATE audit_events SET actor = 'mallory' WHERE seq = 5")
    chain.rows(f"{UNSEAL} seq > 4")
    chain.seal()
    assert chain.faults() == []
    (fault,) = chain.faults(kept)
    assert fault.kind == "rewritten"


def test_a_checkpoint_signed_by_another_key_is_forged(chain: Chain, tmp_path: Path) -> None:
    kept = chain.anchors()
    chain.tell("more@x.test")
    chain.seal()
    chain.signer = Signer(tmp_path / "mallory", io.StringIO())
    assert chain.sign() == 1
    assert chain.faults() == [], "its own key fits its signature"
    assert [fault.kind for fault in chain.faults(kept)] == ["forged"]
    chain.rows("UPDATE audit_checkpoints SET signature = sha256('x') || sha256('y')")
    assert {fault.kind for fault in chain.faults()} == {"forged"}


def test_a_workspace_that_vanished_with_its_chain_is_found(chain: Chain) -> None:
    cli = chain.installation.database("cli")
    south = chain.installation.workspace("south")
    chain.seal()
    assert chain.sign() == 2
    workspaces.begin_deletion(cli, south, ACTOR)
    assert chain.installation.provisioner.reconcile() == 1
    kept = chain.anchors()
    assert south in {anchor.scope for anchor in kept}
    assert [f for r in verbs.verify_all(cli, kept) for f in r.faults] == [], "it was deleted"
    for table in ("audit_checkpoints", "audit_events", "commands", "key_versions", "workspaces"):
        chain.rows(f"DELETE FROM {table} WHERE workspace_id = %s", chain.workspace)
    reports = verbs.verify_all(cli, kept)
    assert [f.kind for r in reports for f in r.faults if r.scope == str(chain.workspace)] == [
        "cut_off"
    ]


def test_an_anchor_of_another_installation_is_refused(chain: Chain) -> None:
    kept = chain.anchors()
    chain.rows("UPDATE installation SET id = uuid7()")
    with pytest.raises(InvalidValue, match="checkpoints of"):
        chain.faults(kept)


# -- erasing --------------------------------------------------------------------------------------


def test_erasing_a_person_leaves_the_chain_whole(chain: Chain) -> None:
    chain.tell("ann@people.test", ANN, by="ann@people.test", keep="annex ann@people.test")
    chain.tell("box@x.test", ANN, other=["x", {"who": "ann@people.test"}])
    chain.seal()
    chain.sign()
    chain.tell("ann@people.test")  # not sealed yet
    kept = chain.anchors()
    cli = chain.installation.database("cli")
    assert verbs.erase(cli, chain.workspace, "Ann@people.test", ACTOR) == 4  # values: exactly
    assert verbs.erase(cli, chain.workspace, "ann@people.test", ACTOR) == 2
    assert verbs.erase(cli, chain.workspace, "ann@people.test", ACTOR) == 0
    chain.seal()
    report = chain.report(kept)
    assert report.faults == []
    assert report.erased_fields == 5  # the sixth was erased before it was sealed
    whole = json.dumps(chain.rows("SELECT e::text AS t FROM audit_events e"))
    assert "ann@people.test" not in whole
    said = chain.rows("SELECT detail FROM audit_events WHERE action = 'audit.erased' ORDER BY seq")
    assert len(said) == 2
    (erased,) = chain.rows("SELECT id FROM audit_events WHERE subject = 'box@x.test'")
    assert said[0]["detail"]["erased"][str(erased["id"])] == ["actor"]  # type: ignore[index]


def test_an_erasure_that_nobody_recorded_is_found(chain: Chain) -> None:
    chain.rows("UPDATE audit_events SET actor = '', actor_salt = NULL WHERE seq = 5")
    (fault,) = chain.faults()
    assert (fault.kind, fault.seq) == ("erased", 5)
    chain.rows("UPDATE audit_events SET actor = 'mallory' WHERE seq = 5")
    assert {fault.kind for fault in chain.faults()} == {"edited", "erased"}


def test_an_erasure_between_reading_and_sealing_is_not_sealed_over(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.tell("ann@people.test")
    real = chain_module.seal

    def slow(*arguments: object) -> object:
        verbs.erase(chain.installation.database("cli"), chain.workspace, "ann@people.test", ACTOR)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "seal", slow)
    with pytest.raises(ServiceUnavailable):
        chain.seal()
    monkeypatch.undo()
    chain.seal()
    assert chain.faults(chain.anchors()) == []
    assert chain.rows("SELECT 1 FROM audit_events WHERE subject = 'ann@people.test'") == []


# -- checkpoints and retention --------------------------------------------------------------------


def test_checkpoints_go_to_a_private_file_and_to_the_output(chain: Chain) -> None:
    key = chain.folder / FOLDER / KEY_FILE
    for path in (key, chain.file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert chain.output.getvalue() == chain.file.read_text()
    before = key.read_bytes()
    chain.tell("more@x.test")
    chain.seal()
    chain.signer = Signer(chain.folder, chain.output)  # as after a restart
    assert chain.sign() == 1
    assert key.read_bytes() == before, "the key is made once"
    assert chain.output.getvalue() == chain.file.read_text()
    assert chain.faults(chain.anchors()) == []


def test_without_a_key_nothing_is_signed_and_nothing_stops(chain: Chain) -> None:
    key = chain.folder / FOLDER / KEY_FILE
    good = key.read_bytes()
    chain.tell("more@x.test")
    assert chain.seal() == 1
    for how in ("exposed", "damaged", "unwritable"):
        match how:
            case "exposed":
                key.chmod(0o644)
            case "damaged":
                key.chmod(0o600)
                key.write_bytes(b"short")
            case "unwritable":
                key.write_bytes(good)
                chain.file.unlink()
                chain.file.mkdir()
        chain.signer = Signer(chain.folder, chain.output)
        assert chain.sign() == 0, how
    chain.file.rmdir()
    assert chain.sign() == 1


def test_retention_prunes_only_behind_a_checkpoint(chain: Chain) -> None:
    future = datetime.now(UTC) + timedelta(days=1)
    first = chain.report().last
    for n in range(5):
        chain.tell(f"late{n}@x.test")
    chain.seal()
    assert chain.prune(datetime.now(UTC) - timedelta(days=1)) == 0, "nothing is old"
    pruned = chain.prune(future)
    assert pruned > first, "the platform's too"
    left = chain.rows("SELECT seq FROM audit_events WHERE seq IS NOT NULL ORDER BY seq")
    assert [row["seq"] for row in left] == list(range(first + 1, first + 6)), "no checkpoint yet"
    assert chain.faults(chain.anchors()) == []
    chain.seal()
    chain.sign()
    report = chain.report(chain.anchors())
    assert (report.faults, report.first) == ([], first + 1)
    chain.prune(future)
    chain.seal()
    report = chain.report(chain.anchors())
    assert report.faults == []
    assert report.first > first + 5
    chain.tell("last@x.test")
    chain.seal()
    (pruned_event,) = chain.rows(
        "DELETE FROM audit_events WHERE seq = %s RETURNING *", report.first
    )
    assert pruned_event["action"] == "audit.pruned"
    found = chain.faults()
    assert found, "nobody says any more how far retention went"
    assert {fault.kind for fault in found} == {"removed"}


def test_a_worker_or_the_web_can_give_an_event_no_place(chain: Chain) -> None:
    denied = pytest.raises(psycopg.errors.InsufficientPrivilege)
    insert = (
        "INSERT INTO audit_events (workspace_id, action, actor, at, seq) "
        "VALUES (%s, 'x', 'x', '2026-03-02', 99)"
    )
    with denied, chain.installation.web_door.tenant_tx(chain.workspace) as conn:
        conn.execute(insert, [chain.workspace])
    worker = chain.installation.worker_doors().door(chain.workspace)
    with pytest.raises(psycopg.errors.InsufficientPrivilege), worker.tx() as conn:
        conn.execute(insert, [chain.workspace])
    for change in ("UPDATE audit_events SET actor = 'x'", "DELETE FROM audit_events"):
        again = pytest.raises(psycopg.errors.InsufficientPrivilege)
        with again, chain.installation.door.tenant_tx(chain.workspace) as conn:
            conn.execute(change.encode())


def test_a_second_sealer_changes_nothing(chain: Chain) -> None:
    """The scheduler's lock makes them take turns; without it the later one is refused whole."""
    chain.tell("one@x.test")
    chain.tell("two@x.test")
    scheduler = chain.installation.database("scheduler")
    with scheduler.tx() as conn:
        stale = list(SQL.unsealed_events(conn, batch=10))
        assert len(stale) == 2
        assert chain.seal() == 2
    real = module.SQL

    class Late:
        """What the second one read before the first had ended."""

        def __getattr__(self, name: str) -> object:
            if name == "unsealed_events":
                return lambda conn, batch: [dict(row) for row in stale]
            return getattr(real, name)

    module.SQL = Late()
    try:
        with pytest.raises(ServiceUnavailable):
            chain.seal()
    finally:
        module.SQL = real
    assert chain.faults(chain.anchors()) == []
