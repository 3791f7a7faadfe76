from database import TestInstallation


def test_a_mailbox_can_be_made(installation: TestInstallation) -> None:
    ws = installation.workspace("north")
    pool = installation.pool(ws, "main", cap="10")
    box = installation.mailbox(ws, pool, "a@one.test")
    with installation.worker_doors().door(ws).tx() as conn:
        assert conn.execute("SELECT id FROM mailboxes").fetchall() == [{"id": box}]
