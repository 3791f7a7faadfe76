"""Where keys are taken from and put back to: the keys folder of one machine, or Secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol
from uuid import UUID

from mailhearth_core.errors import Conflict, KeysMissing, MailhearthError, NotFound
from mailhearth_local.keystore import FileKeyStore
from mailhearth_local.saved_keys.bundle import SavedKey
from mailhearth_operator.cluster.api import Api, Forbidden
from mailhearth_operator.cluster.keys import key_secret, secret_name
from mailhearth_operator.cluster.kinds import KEY_LABEL, SECRET, WORKSPACE, Object
from mailhearth_operator.cluster.secrets import private_key

NO_KEY = "no key"
"""Instead of a fingerprint: something is there, and it is no private key."""


class Place(Protocol):
    """A store of private keys as backups see it."""

    def collect(self) -> list[SavedKey]:
        """All that are there. Raises MailhearthError when one cannot be read."""
        ...

    def where(self, saved: SavedKey) -> str:
        """Where a key of a backup belongs, for people. Raises NotFound when that is unknown."""
        ...

    def fingerprint(self, saved: SavedKey) -> str | None:
        """Of the key that is there in its place now; None: nothing is; NO_KEY."""
        ...

    def put(self, saved: SavedKey) -> None:
        """Puts a key back that is not there; durable when it returns. Raises Conflict."""
        ...


class FolderPlace:
    """The keys folder of one machine.

    Args:
        names: of the workspaces, by id.
    """

    def __init__(self, store: FileKeyStore, names: Mapping[UUID, str]) -> None:
        self._store = store
        self._names = names

    def collect(self) -> list[SavedKey]:
        folder = self._store.folder
        ids = [_uuid(entry.name) for entry in folder.iterdir()] if folder.is_dir() else []
        return [
            SavedKey(one, version, self._store.open(one, version), self._names.get(one, ""))
            for one in sorted(filter(None, ids))
            for version in self._store.versions(one)
        ]

    def where(self, saved: SavedKey) -> str:
        return str(self._store.path(saved.workspace_id, saved.version))

    def fingerprint(self, saved: SavedKey) -> str | None:
        if not self._store.path(saved.workspace_id, saved.version).exists():
            return None
        try:
            return self._store.fingerprint(saved.workspace_id, saved.version)
        except KeysMissing:
            return NO_KEY

    def put(self, saved: SavedKey) -> None:
        self._store.put(saved.workspace_id, saved.version, saved.key)


def watched_namespaces(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Those of an operator's pod; empty elsewhere."""
    text = environ.get("MAILHEARTH_NAMESPACES") or environ.get("MAILHEARTH_NAMESPACE", "")
    return tuple(part.strip() for part in text.split(",") if part.strip())


class ClusterPlace:
    """Secrets labelled `mailhearth.io/key`.

    Args:
        namespaces: empty: all of the cluster.
    """

    def __init__(self, api: Api, namespaces: Sequence[str]) -> None:
        self._api = api
        self._namespaces: Sequence[str | None] = namespaces or (None,)

    def collect(self) -> list[SavedKey]:
        """Needs the right to list Secrets, and no other."""
        found: dict[str, SavedKey] = {}
        for namespace in self._namespaces:
            try:
                secrets = self._api.list_all(SECRET, namespace, labels=KEY_LABEL)
            except Forbidden as error:
                raise Forbidden(
                    error.message,
                    hint="Give this account the verb list on secrets there, "
                    "or name the namespaces with --namespace.",
                ) from None
            for secret in secrets:
                saved = _of_secret(secret)
                other = found.setdefault(saved.name, saved)
                if other.key.fingerprint != saved.key.fingerprint:
                    raise Conflict(
                        f"Namespaces {other.namespace} and {saved.namespace} hold different keys "
                        f"{saved.name}.",
                        hint="Name one of them with --namespace.",
                    )
        return [found[name] for name in sorted(found)]

    def where(self, saved: SavedKey) -> str:
        name = secret_name(saved.workspace_id, saved.version)
        return f"Secret {self._namespace(saved)}/{name}"

    def fingerprint(self, saved: SavedKey) -> str | None:
        name = secret_name(saved.workspace_id, saved.version)
        secret = self._api.get(SECRET, self._namespace(saved), name)
        if secret is None:
            return None
        key = private_key(secret)
        return NO_KEY if key is None else key.fingerprint

    def put(self, saved: SavedKey) -> None:
        namespace = self._namespace(saved)
        body = key_secret(namespace, saved.workspace_id, saved.version, saved.key.raw())
        self._api.create(SECRET, body)

    def workspace_id(self, name: str) -> UUID:
        """Of the Workspace resource of that name. Raises NotFound, Conflict."""
        ids = {
            one["status"]["workspaceId"]
            for one in self._workspaces
            if one["metadata"]["name"] == name and one.get("status", {}).get("workspaceId")
        }
        if not ids:
            raise NotFound(
                f"There is no Workspace {name!r} with an id.",
                hint="Give the workspace's id: `kubectl get workspace NAME -o yaml` tells it.",
            )
        if len(ids) > 1:
            raise Conflict(
                f"Several namespaces have a Workspace {name!r}.", hint="Add --namespace."
            )
        return UUID(ids.pop())

    def _namespace(self, saved: SavedKey) -> str:
        """That of the workspace's resource, else where the Secret was, else the only one named."""
        only = self._namespaces[0] if len(self._namespaces) == 1 else None
        namespace = self._resources.get(str(saved.workspace_id)) or saved.namespace or only
        if not namespace:
            raise NotFound(
                f"No Workspace resource has the id {saved.workspace_id}, and the backup names no "
                "namespace.",
                hint="Apply the resource first, or name the namespace with --namespace.",
            )
        return namespace

    @cached_property
    def _resources(self) -> dict[str, str]:
        """Namespaces of the Workspace resources, by the id in their status."""
        return {
            one["status"]["workspaceId"]: one["metadata"]["namespace"]
            for one in self._workspaces
            if one.get("status", {}).get("workspaceId")
        }

    @cached_property
    def _workspaces(self) -> list[Object]:
        found: list[Object] = []
        for namespace in self._namespaces:
            try:
                found += self._api.list_all(WORKSPACE, namespace)
            except NotFound:  # the definitions are not installed yet
                continue
        return found


def _of_secret(secret: Object) -> SavedKey:
    meta = secret["metadata"]
    where = f"Secret {meta['namespace']}/{meta['name']}"
    workspace_id = _uuid(meta["labels"][KEY_LABEL])
    version = meta["name"].rpartition("-")[2]
    if (
        workspace_id is None
        or not version.isdecimal()
        or meta["name"] != secret_name(workspace_id, int(version))
    ):
        raise MailhearthError(
            f"{where} is labelled {KEY_LABEL}, but is not named as a key.",
            hint="Take the label off if it holds none.",
            code="no_key",
        )
    key = private_key(secret)
    if key is None:
        raise KeysMissing(
            f"{where} holds no private key.",
            hint="Delete it, and put the key back with `mailhearth keys restore`.",
        )
    return SavedKey(workspace_id, int(version), key, namespace=meta["namespace"])


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
