"""`mailhearth keys backup` and `keys restore`: of the keys folder, or of a cluster's Secrets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from mailhearth_core.errors import Conflict, InvalidValue
from mailhearth_local.cli.options import common
from mailhearth_local.cli.output import emit_json, table, time_text
from mailhearth_local.cli.session import Session

if TYPE_CHECKING:
    from mailhearth_local.saved_keys.bundle import Bundle
    from mailhearth_local.saved_keys.places import Place
    from mailhearth_local.saved_keys.work import Deed, Known
    from mailhearth_local.services.attach import Attached

TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""There in a pod with a service account."""
INSTALLATION = "MAILHEARTH_INSTALLATION"
FILE = click.Path(dir_okay=False, path_type=Path)

workspace_option = click.option(
    "--workspace", "-w", metavar="NAME", help="This workspace's keys only; a name or an id."
)


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --cluster, --folder and --namespace."""
    cluster = click.option(
        "--cluster/--folder",
        default=None,
        help="Keys that are Secrets of a cluster, or files of this machine.  [default: the cluster "
        "in a pod with a service account, and where KUBECONFIG is set and --data is not given; "
        "else the folder DIR/keys]",
    )
    namespaces = click.option(
        "--namespace", "-n", "namespaces", multiple=True, metavar="NAME",
        help="Of the cluster; may be given several times.  [env: MAILHEARTH_NAMESPACES, "
        "MAILHEARTH_NAMESPACE; default: all]",
    )  # fmt: skip
    return cluster(namespaces(command))


@dataclass(frozen=True)
class Opened:
    """Where the keys are, and what is known of them.

    Attributes:
        installation: its id, or "namespace/release"; empty where it is not known.
        known: what the database says; empty where it cannot be asked.
        find: the id of the workspace that a name names.
        settle: lets the provisioner look at the keys again, where it runs in this process.
    """

    place: Place
    installation: str
    known: Mapping[tuple[UUID, int], Known]
    find: Callable[[str], UUID]
    settle: Callable[[], object]


@click.command()
@click.option("--to", "recipients", multiple=True, required=True, metavar="RECIPIENT",
              help="An age recipient, age1...; may be given several times.")  # fmt: skip
@click.option("--out", type=FILE, required=True, metavar="FILE",
              help="The file to write; {time} in its name becomes the time in UTC.")  # fmt: skip
@click.option("--keep", type=click.IntRange(1), metavar="N",
              help="How many files of that name with another {time} stay; older ones are removed "
              "after a good one was written.  [default: all]")  # fmt: skip
@workspace_option
@place_options
@common
def backup(
    session: Session,
    recipients: tuple[str, ...],
    out: Path,
    keep: int | None,
    workspace: str | None,
    cluster: bool | None,
    namespaces: tuple[str, ...],
) -> None:
    """Save private keys in one file that only the recipients' identities open (age).

    Make an identity with `age-keygen`, and keep it offline: this command needs its recipient only.
    In a cluster the keys are the Secrets labelled mailhearth.io/key; the right to list Secrets is
    enough. Keep the file apart from backups of the database: with both, and the identity, every
    password can be read.

    \b
    Examples:
      mailhearth keys backup --to age1... --out keys.age
      mailhearth keys backup --to age1... --to age1... --out '/backups/keys-{time}.age' --keep 14

    JSON keys: path, keys (a list of <workspace>/<version>), missing (keys that the database knows
    and that are not there), removed.
    """
    from mailhearth_local.saved_keys import work

    with _opened(session, cluster, namespaces) as opened:
        done = work.backup(
            opened.place,
            out,
            recipients,
            installation=opened.installation,
            known=opened.known,
            only=opened.find(workspace) if workspace else None,
            keep=keep,
        )
    if session.json:
        emit_json(
            {
                "path": str(done.path),
                "keys": [saved.name for saved in done.keys],
                "missing": done.missing,
                "removed": [str(path) for path in done.removed],
            }
        )
        return
    workspaces = {saved.workspace_id for saved in done.keys}
    click.echo(f"{done.path}: {len(done.keys)} keys of {len(workspaces)} workspaces")
    for path in done.removed:
        click.echo(f"removed {path}")
    for name in done.missing:
        click.echo(f"missing: {name}; an older backup may hold it, so none is removed", err=True)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--identity", type=FILE, metavar="IDENTITYFILE",
              help="File of the age identity, as age-keygen writes it.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@workspace_option
@place_options
@common
def restore(
    session: Session,
    file: Path,
    identity: Path | None,
    dry_run: bool,
    workspace: str | None,
    cluster: bool | None,
    namespaces: tuple[str, ...],
) -> None:
    """Put private keys back that are missing. A key that is there is never replaced.

    FILE is what `keys backup` wrote; or -, and the file comes decrypted on standard input, so that
    the identity stays where it is. In a cluster each key goes into the namespace of its workspace's
    resource, else into the one that it came from; the operator goes on by itself.

    \b
    Examples:
      mailhearth keys restore keys.age --identity identity.txt --dry-run
      age -d -i identity.txt keys.age | mailhearth keys restore -

    It ends with 1 when a key was refused: another one is in its place. Both fingerprints are told.

    JSON: {installation, made_at, dry_run, keys}; keys is a list of {workspace, version,
    fingerprint, done, where, why}; done is restored, present, refused or left out (versions that
    were destroyed).
    """
    from mailhearth_local.saved_keys import work

    bundle = _read(file, identity)
    with _opened(session, cluster, namespaces) as opened:
        only = opened.find(workspace) if workspace else None
        deeds: list[Deed] = []
        try:
            work.restore(
                opened.place,
                bundle,
                known=opened.known,
                only=only,
                dry_run=dry_run,
                tell=deeds.append,
            )
        finally:
            _tell(session, bundle, deeds, dry_run=dry_run)
        if not dry_run:
            opened.settle()
    refused = sum(deed.done == work.REFUSED for deed in deeds)
    if refused:
        raise Conflict(
            f"{refused} of {len(deeds)} keys were not put back: see above.",
            hint="No key that is there is replaced.",
            code="keys_differ",
        )


def _tell(session: Session, bundle: Bundle, deeds: list[Deed], *, dry_run: bool) -> None:
    from mailhearth_local.saved_keys import work

    if session.json:
        emit_json(
            {
                "installation": bundle.installation,
                "made_at": bundle.made_at,
                "dry_run": dry_run,
                "keys": [
                    {
                        "workspace": deed.saved.workspace_id,
                        "version": deed.saved.version,
                        "fingerprint": deed.saved.key.fingerprint,
                        "done": deed.done,
                        "where": deed.where,
                        "why": deed.why,
                    }
                    for deed in deeds
                ],
            }
        )
        return
    click.echo(f"Backup of {time_text(bundle.made_at)}, installation {bundle.installation or '-'}")
    would = {work.RESTORED: "would be restored"} if dry_run else {}
    table(
        ("workspace", "version", "done", "where", "why"),
        [
            (deed.saved.workspace or deed.saved.workspace_id, deed.saved.version,
             would.get(deed.done, deed.done), deed.where, deed.why)
            for deed in deeds
        ],
        empty="There is no such key in it.",
    )  # fmt: skip


def _read(file: Path, identity: Path | None) -> Bundle:
    from mailhearth_local.saved_keys import bundle

    if str(file) == "-":
        return bundle.Bundle.from_json(sys.stdin.buffer.read())
    if identity is None:
        raise click.UsageError(
            "Give --identity IDENTITYFILE, or decrypt the file yourself: "
            f"age -d -i IDENTITYFILE {file} | mailhearth keys restore -"
        )
    return bundle.decrypt(_content("FILE", file), _text("--identity", identity))


def _text(name: str, path: Path) -> str:
    try:
        return _content(name, path).decode()
    except UnicodeDecodeError:
        raise InvalidValue(name, str(path), "a text file") from None


def _content(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        allowed = f"a file that this account may read ({error.strerror})"
        raise InvalidValue(name, str(path), allowed) from None


# -- where the keys are ---------------------------------------------------------------------------


@contextmanager
def _opened(
    session: Session, cluster: bool | None, namespaces: tuple[str, ...]
) -> Iterator[Opened]:
    from mailhearth_local.services.attach import ELSEWHERE

    in_cluster = _is_in_cluster(session) if cluster is None else cluster
    with ExitStack() as stack:
        attached = None
        if not in_cluster or session.environ.get(ELSEWHERE):
            attached = stack.enter_context(session.attached())
        facts = _facts(attached)
        if in_cluster:
            yield _in_cluster(session, namespaces, facts)
        else:
            assert attached is not None
            yield _on_this_machine(attached, facts)


def _in_cluster(session: Session, namespaces: tuple[str, ...], facts: Facts) -> Opened:
    from mailhearth_local.saved_keys.places import ClusterPlace, watched_namespaces
    from mailhearth_operator.cluster.api import Api

    place = ClusterPlace(Api.connect(), namespaces or watched_namespaces(session.environ))

    def find(text: str) -> UUID:
        return _id(text) or place.workspace_id(text)

    installation = session.environ.get(INSTALLATION, "") or facts.installation
    return Opened(place, installation, facts.known, find, lambda: None)


def _on_this_machine(attached: Attached, facts: Facts) -> Opened:
    from mailhearth_core.verbs import workspaces
    from mailhearth_local.saved_keys.places import FolderPlace

    def find(text: str) -> UUID:
        """Also a workspace that the database does not know, by its id."""
        found: UUID = _id(text) or workspaces.find(attached.cli, text)["workspace_id"]
        return found

    def settle() -> None:
        if attached.reconcile is not None:
            attached.reconcile()

    place = FolderPlace(attached.stack.keys, facts.names)
    return Opened(place, facts.installation, facts.known, find, settle)


def _is_in_cluster(session: Session) -> bool:
    if session.environ.get("KUBERNETES_SERVICE_HOST") and TOKEN.exists():
        return True
    return bool(session.environ.get("KUBECONFIG")) and session.given_data is None


@dataclass(frozen=True)
class Facts:
    """What the database says: the installation's id, workspaces' names, key versions."""

    installation: str = ""
    names: Mapping[UUID, str] = field(default_factory=dict)
    known: Mapping[tuple[UUID, int], Known] = field(default_factory=dict)


def _facts(attached: Attached | None) -> Facts:
    """Nothing where the database cannot be asked."""
    from mailhearth_core.storage.installation import read_installation
    from mailhearth_core.verbs import keys, workspaces
    from mailhearth_local.saved_keys.work import Known

    if attached is None:
        return Facts()
    with attached.cli.tx() as conn:
        installation = str(read_installation(conn).id)
    names = {row["workspace_id"]: row["name"] for row in workspaces.listing(attached.cli)}
    known = {
        (workspace_id, row["version"]): Known(row["state"], row["fingerprint"])
        for workspace_id in names
        for row in keys.listing(attached.door, workspace_id)
    }
    return Facts(installation, names, known)


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
