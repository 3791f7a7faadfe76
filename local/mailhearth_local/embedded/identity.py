"""Which account an embedded service runs as: Postgres refuses root, so root hands it to nobody."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mailhearth_core.errors import MailhearthError

CAPABILITIES = {"dac_read_search": 2, "dac_override": 1}
"""What lets the account pass a closed folder, weakest first (linux/capability.h)."""


@dataclass(frozen=True)
class Account:
    """An account to step down to; `capability` is kept so that closed parents can be passed."""

    uid: int
    gid: int
    setpriv: str
    capability: str | None

    def wrap(self, command: list[str], death_signal: signal.Signals | None = None) -> list[str]:
        """The command that runs `command` as this account.

        The kernel forgets the parent-death signal when the account changes (prctl(2)), so it is
        given again here.
        """
        words = [self.setpriv, f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        kept = "-all" if self.capability is None else f"-all,+{self.capability}"
        words += [f"--inh-caps={kept}", f"--ambient-caps={kept}", f"--bounding-set={kept}"]
        if self.capability is not None:
            # Postgres looks for its programs with access(2), which sets an ordinary account's
            # capabilities aside unless told not to (capabilities(7), SECBIT_NO_SETUID_FIXUP).
            words.append("--securebits=+no_setuid_fixup")
        if death_signal is not None:
            words.append(f"--pdeathsig={death_signal.name.removeprefix('SIG')}")
        return [*words, "--no-new-privs", "--", *command]

    def own(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid)


def unprivileged(paths: Iterable[Path]) -> Account | None:
    """None when this process is not root; else nobody, able to reach all of `paths`.

    Raises:
        MailhearthError: `setpriv` is missing, or a folder is closed and no capability may be kept.
    """
    if os.geteuid() != 0:
        return None
    setpriv = shutil.which("setpriv", path=os.environ.get("PATH", "") + ":/usr/bin:/bin")
    if setpriv is None:
        raise MailhearthError(
            "Postgres refuses to run as root, and setpriv, which changes the account, is missing.",
            hint="Run as an ordinary user, or install util-linux.",
            code="setpriv_missing",
        )
    nobody = pwd.getpwnam("nobody")
    closed = _closed_folder(paths)
    capability = None if closed is None else _capability(closed)
    return Account(nobody.pw_uid, nobody.pw_gid, setpriv, capability)


def _closed_folder(paths: Iterable[Path]) -> Path | None:
    """The first folder above one of `paths` that others may not enter."""
    for path in paths:
        for parent in path.resolve().parents:
            if not parent.stat().st_mode & 0o001:
                return parent
    return None


def _capability(closed: Path) -> str:
    bounding = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(("CapPrm:", "CapBnd:")):
            mask = int(line.split()[1], 16)
            bounding = mask if not bounding else bounding & mask
    for name, bit in CAPABILITIES.items():
        if bounding >> bit & 1:
            return name
    raise MailhearthError(
        f"Postgres cannot run as root, and the account nobody may not enter {closed}.",
        hint="Run as an ordinary user, or use a data folder and a virtual environment elsewhere.",
        code="folder_closed",
    )
