"""What the bundled Postgres is configured with, beyond the embedded one. Pure text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from mailhearth_local.embedded.postgres_conf import quoted

ARCHIVE_SECONDS = 60
"""A segment of the log is archived at least so often, if anything was written."""
SUFFIX = ".gz"
"""Segments are archived packed: most of one that was cut off by the clock is empty."""

SETTINGS: Mapping[str, str] = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "maintenance_work_mem": "64MB",
    "autovacuum_max_workers": "2",
    "max_worker_processes": "6",
    # so that it can be copied while it runs, and its log be archived
    "wal_level": "replica",
    "max_wal_senders": "4",
    "max_wal_size": "512MB",
}

HBA = """\
# Network connections come through the TLS front, by the Unix socket. The superuser does not: it is
# let in from this pod alone, with a password that is kept beside the data.
# TYPE  DATABASE     USER      ADDRESS       METHOD
local   all          postgres                reject
local   replication  postgres                reject
local   all          all                     scram-sha-256
local   replication  all                     scram-sha-256
host    all          postgres  127.0.0.1/32  scram-sha-256
"""


def settings(archive: Path | None) -> dict[str, str]:
    """As `postgres_conf.SETTINGS`; with `archive`, the write-ahead log is archived there."""
    if archive is None:
        return dict(SETTINGS)
    return {
        **SETTINGS,
        "archive_mode": "on",
        "archive_timeout": f"{ARCHIVE_SECONDS}s",
        "archive_command": f"'{quoted(archive_command(archive))}'",
    }


def archive_command(archive: Path) -> str:
    """Archives one segment as a whole or not at all; fails where another of its name is there.

    The same segment may come twice, after a crash: that is no failure.
    """
    to = f"{_folder(archive)}/%f{SUFFIX}"
    draft = f"{_folder(archive)}/.%f.part"
    same = f"gzip -dc {to} | cmp -s - %p"
    keep = f"gzip -c %p >{draft} && sync {draft} && mv {draft} {to} && sync {_folder(archive)}"
    return f"if [ -e {to} ]; then {same}; else {keep}; fi"


def restore_command(archive: Path) -> str:
    """Brings one segment back; a name that is not there ends with 1, as Postgres expects.

    Written beside the goal first: Postgres must not read half of it.
    """
    source = f"{_folder(archive)}/%f{SUFFIX}"
    return f"[ -e {source} ] && gzip -dc {source} >%p.part && mv %p.part %p"


def _folder(path: Path) -> str:
    return shlex.quote(str(path)).replace("%", "%%")
