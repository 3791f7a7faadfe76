"""What one call of the command line knows: its data folder, its form of output, its environment."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from mailhearth_core.verbs.wishes import Actor
    from mailhearth_local.services.attach import Attached

DATA_VARIABLE = "MAILHEARTH_DATA"


class Session:
    """Filled by the common options while the words of the call are read; click's `ctx.obj`."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self.json = False
        self.given_data: Path | None = None

    @property
    def data(self) -> Path:
        """The data folder: --data, else MAILHEARTH_DATA, else the account's own (~/.mailhearth)."""
        if self.given_data is not None:
            return self.given_data
        named = self.environ.get(DATA_VARIABLE)
        return Path(named) if named else default_data(self.environ)

    @property
    def allow_app_passwords(self) -> bool:
        """Whether this installation takes passwords for Google's and Microsoft's servers."""
        said = self.environ.get("MAILHEARTH_ALLOW_APP_PASSWORDS", "")
        return said.strip().lower() in {"1", "true", "yes", "on"}

    @property
    def actor(self) -> Actor:
        """Who does it, for the audit trail and the consent ledger."""
        from mailhearth_core.verbs.wishes import Actor

        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # an account without a name, as in some containers
            name = f"uid {os.getuid()}"
        return Actor(name, "cli")

    @contextmanager
    def attached(self, *, redis: bool = False) -> Iterator[Attached]:
        """The database: of the running `up`, else the embedded one, started for this call."""
        from mailhearth_local.cli.progress import waiting
        from mailhearth_local.services.attach import attach

        def reach() -> AbstractContextManager[Attached]:
            return attach(self.data, self.environ, redis=redis)

        opened = reach() if self.quiet else waiting("Opening the database", reach)
        with self._logging(), opened as attached:
            yield attached

    @contextmanager
    def _logging(self) -> Iterator[None]:
        """Log lines go to DIR/log/cli.log, so that stdout holds the answer and nothing else."""
        from mailhearth_core import logs
        from mailhearth_core.errors import InvalidValue

        path = self.data / "log" / "cli.log"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise InvalidValue(
                "data",
                str(self.data),
                f"a folder that this account may write to ({error.strerror})",
            ) from None
        with os.fdopen(descriptor, "a", buffering=1) as stream:
            logs.configure("cli", stream=stream)
            try:
                yield
            finally:
                logs.configure("cli", "ERROR")

    @property
    def quiet(self) -> bool:
        """Whether progress is not shown: nobody looks, or a program reads."""
        return self.json or not sys.stderr.isatty()


def default_data(environ: Mapping[str, str]) -> Path:
    """Where a data folder is untold; as `stack.data_folder`, which is slow to import."""
    home = environ.get("HOME")
    return (Path(home) if home else Path.home()) / ".mailhearth"


def wait_for_wish(
    attached: Attached, workspace_id: UUID, command_id: UUID, deadline_seconds: float = 15
) -> str:
    """Waits until the provisioner has carried a wish out; runs it here when nothing else does."""
    from mailhearth_core.verbs.wishes import await_wish

    return await_wish(
        attached.door,
        workspace_id,
        command_id,
        reconcile=attached.reconcile,
        deadline_seconds=deadline_seconds,
    )


def workspace_of(attached: Attached, name: str | None) -> dict[str, Any]:
    """The workspace named, or the only one there is when none is named.

    Raises:
        NotFound: there is none; Conflict: there are several and none was named.
    """
    from mailhearth_core.errors import Conflict, NotFound
    from mailhearth_core.verbs import workspaces

    if name:
        return workspaces.find(attached.cli, name)
    rows = workspaces.listing(attached.cli)
    if not rows:
        raise NotFound(
            "There is no workspace yet.", hint="Make one: `mailhearth workspace create NAME`."
        )
    if len(rows) > 1:
        names = ", ".join(row["name"] for row in rows)
        raise Conflict(f"Which workspace is not clear: {names}.", hint="Add --workspace NAME.")
    return rows[0]
