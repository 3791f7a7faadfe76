"""The embedded Postgres' own configuration: small, durable, loopback only. Pure text."""

from __future__ import annotations

from collections.abc import Mapping

SETTINGS: Mapping[str, str] = {
    # where: TCP on loopback, passwords only
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    # memory: the whole product is meant to idle below 250 MB
    "shared_buffers": "24MB",
    "work_mem": "2MB",
    "maintenance_work_mem": "32MB",
    "huge_pages": "off",
    "jit": "off",
    "io_method": "sync",  # no separate I/O workers (Postgres 18)
    "autovacuum_max_workers": "1",
    "max_worker_processes": "4",
    "max_parallel_workers": "2",
    "max_parallel_workers_per_gather": "1",
    # durability: full; only the amount of WAL that is kept is small
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "minimal",  # no replicas; backups are dumps
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "min_wal_size": "32MB",
    "max_wal_size": "128MB",
    # log: files in a folder, a new one every 5 MB; old ones are removed at each start
    "logging_collector": "on",
    "log_filename": "'postgres-%Y%m%d-%H%M%S.log'",
    "log_file_mode": "0600",
    "log_rotation_size": "5MB",
    "log_rotation_age": "0",
    "log_min_messages": "warning",
    "log_line_prefix": "'%m [%p] %u@%d '",
    "log_checkpoints": "off",
    "log_parameter_max_length_on_error": "0",  # parameters may be credentials
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "datestyle": "'iso, ymd'",
    "lc_messages": "'C'",
}
"""Name -> value as written in a configuration file (units and quotes included)."""

HBA = """\
# TYPE  DATABASE  USER  ADDRESS       METHOD
host    all       all   127.0.0.1/32  scram-sha-256
"""


def config_text(port: int, log_folder: str, changes: Mapping[str, str] | None = None) -> str:
    """The whole `postgresql.conf`; Postgres' own sample file is not used.

    Args:
        changes: values in the place of, or besides, those of `SETTINGS`.
    """
    lines = [f"{name} = {value}" for name, value in {**SETTINGS, **(changes or {})}.items()]
    lines += [f"port = {port}", f"log_directory = '{quoted(log_folder)}'"]
    return "# Written at every start; edits are lost.\n" + "\n".join(lines) + "\n"


def quoted(value: str) -> str:
    """`value` as it stands between the quotes of a configuration file."""
    return value.replace("\\", "\\\\").replace("'", "''")
