"""What `mailhearth doctor` looks at: each check gives findings and changes nothing."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailhearth_core.errors import MailhearthError
from mailhearth_core.keystore import KeyFolder
from mailhearth_core.storage import migrate
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import one
from mailhearth_core.storage.named import named
from mailhearth_core.storage.roles import FAMILIES, GROUP_ROLES, LOGIN_ROLES
from mailhearth_core.verbs import blockers, capacity, keys, mailboxes, pools, workspaces
from mailhearth_core.warmup.policy import Policy
from mailhearth_local.cli.output import short_time
from mailhearth_local.cli.owner import owner_url, role_prefix
from mailhearth_local.services.attach import Attached
from mailhearth_local.services.runfile import RunFile

OK, WARN, FAIL = "ok", "warn", "fail"
LOW_SPACE = 1 << 30
OVERDUE_SECONDS = 300.0
"""Machine seconds after which due work counts as left undone."""
SKEW_SECONDS = 2.0
PRIVATE = ("secrets", "keys", "logins")


@dataclass(frozen=True)
class Finding:
    """One line: `check` is stable, `text` what was found, `hint` what to do."""

    check: str
    level: str
    text: str
    hint: str = ""


def data_folder(data: Path) -> list[Finding]:
    """The folder's rights, owner and free space; no service is needed."""
    if not data.is_dir():
        return [Finding("data folder", OK, f"{data} is not there yet; it is made on first use")]
    found = []
    for path in (data, *(data / name for name in PRIVATE if (data / name).exists())):
        status = path.stat()
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077 and path != data:
            hint = f"chmod 700 {path}"
            found.append(
                Finding("data folder", FAIL, f"others may look into {path} ({mode:04o})", hint)
            )
        elif mode & 0o022:
            hint = f"chmod 700 {path}"
            found.append(
                Finding("data folder", FAIL, f"others may write to {path} ({mode:04o})", hint)
            )
        elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            hint = "run as its owner, or choose another --data"
            found.append(Finding("data folder", FAIL, f"{path} is not ours to write", hint))
    free = shutil.disk_usage(data).free
    if free < LOW_SPACE:
        text = f"only {free >> 20} MB are free at {data}"
        found.append(Finding("data folder", WARN, text, "make room; Postgres stops without it"))
    return found or [Finding("data folder", OK, f"{data}, {free >> 30} GB free")]


def processes(run: RunFile | None) -> list[Finding]:
    """Worker, scheduler, web and Redis of a running `up`."""
    if run is None:
        return [Finding("processes", WARN, "nothing runs for this folder", "start `mailhearth up`")]
    found = []
    for name in ("worker", "scheduler", "web"):
        if name not in run.pids:
            hint = f"see log/{name}.log; `up` starts it again by itself"
            found.append(Finding(name, FAIL, "it does not run", hint))
    for url in run.metrics:
        reasons = _unhealthy(url)
        where = urlsplit(url).netloc
        if reasons:
            text = f"the process at {where} is not healthy: {'; '.join(reasons)}"
            found.append(Finding("health", FAIL, text, "see the logs below DIR/log"))
        else:
            found.append(Finding("health", OK, f"the process at {where} is healthy"))
    return [*found, _redis(run)]


def _unhealthy(metrics_url: str) -> list[str]:
    parts = urlsplit(metrics_url)
    for path in ("/healthz", "/readyz"):
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=3)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != http.HTTPStatus.OK:
                return [str(reason) for reason in json.loads(body)["reasons"]]
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            return [f"it does not answer {path} ({type(error).__name__})"]
        finally:
            connection.close()
    return []


def _redis(run: RunFile) -> Finding:
    try:
        with redis.Redis.from_url(
            run.redis_url.reveal(),
            socket_timeout=3,
            socket_connect_timeout=3,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.ping()
    except redis.RedisError as error:
        text = f"Redis does not answer ({type(error).__name__})"
        return Finding("redis", FAIL, text, "see log/valkey; no mail is lost meanwhile")
    return Finding("redis", OK, "Redis answers")


def database(attached: Attached) -> Iterator[Finding]:
    """The database answers, and how its clock compares with this machine's."""
    with attached.cli.tx() as conn:
        row = one(conn.execute("SELECT clock_timestamp() AS at, version() AS version").fetchone())
        skew = abs((datetime.now(UTC) - row["at"]).total_seconds())
        now = business_now(conn)
        rate = conn.execute("SELECT rate FROM business_clock").fetchone()
    yield Finding("database", OK, " ".join(row["version"].split()[:2]) + " answers")
    if skew > SKEW_SECONDS:
        text = f"the database's clock differs from this machine's by {skew:.0f} s"
        yield Finding("clock", FAIL, text, "let both keep time by NTP")
    elif rate:
        text = f"sandbox time is {short_time(now)}, {rate['rate']:g} times as fast"
        yield Finding("clock", OK, text)
    else:
        yield Finding("clock", OK, "this machine and the database agree")


def schema(attached: Attached) -> Iterator[Finding]:
    """Migrations that this version brings and the database has not seen."""
    pending = migrate.pending(owner_url(attached).reveal())
    if pending:
        text = f"{len(pending)} migrations are pending: {', '.join(pending)}"
        yield Finding("schema", FAIL, text, "stop `mailhearth up`, run `mailhearth migrate`")
    else:
        yield Finding("schema", OK, f"at {migrate.migrations()[-1].name}")


def roles(attached: Attached) -> Iterator[Finding]:
    """All roles exist, and none may pass row-level security."""
    prefix = role_prefix(attached.cli)
    wanted = {f"{prefix}_{role}" for role in (*LOGIN_ROLES, *GROUP_ROLES)}
    with attached.cli.tx() as conn:
        rows = conn.execute(
            "SELECT rolname, rolsuper, rolbypassrls, rolcanlogin FROM pg_roles "
            "WHERE rolname = ANY (%s) OR rolname LIKE %s",
            (sorted(wanted), f"{prefix}\\_w\\_%"),
        ).fetchall()
    missing = sorted(wanted - {row["rolname"] for row in rows})
    strong = [row["rolname"] for row in rows if row["rolsuper"] or row["rolbypassrls"]]
    families = {f"{prefix}_{family}" for family in FAMILIES}
    doors = [row["rolname"] for row in rows if row["rolname"] in families and row["rolcanlogin"]]
    if missing:
        yield Finding("roles", FAIL, f"missing: {', '.join(missing)}", "run `mailhearth migrate`")
    if strong:
        names = ", ".join(strong)
        text = f"superuser or BYPASSRLS, which passes every tenant's wall: {names}"
        yield Finding("roles", FAIL, text, "ALTER ROLE ... NOSUPERUSER NOBYPASSRLS")
    if doors:
        text = f"may log in but must not: {', '.join(doors)}"
        yield Finding("roles", FAIL, text, "ALTER ROLE ... NOLOGIN")
    if not (missing or strong or doors):
        yield Finding("roles", OK, f"{len(rows)} roles, none of them too strong")


def private_keys(attached: Attached) -> Iterator[Finding]:
    """Every key that the database knows is there, private, and the same one."""
    folder = KeyFolder(attached.stack.data / "keys")
    good = 0
    for workspace in workspaces.listing(attached.cli):
        rows = keys.listing(attached.door, workspace["workspace_id"])
        if not any(row["state"] == "active" for row in rows) and workspace["state"] == "active":
            text = f"workspace {workspace['name']} has no active key"
            yield Finding("keys", FAIL, text, "see log/supervisor.log; nothing can be sealed")
        for row in rows:
            if row["state"] == "destroyed":
                continue
            try:
                folder.open(workspace["workspace_id"], row["version"], row["fingerprint"])
                good += 1
            except MailhearthError as error:
                yield Finding("keys", FAIL, f"{workspace['name']}: {error.message}", error.hint)
    yield Finding("keys", OK, f"{good} private keys are there and match")


def key_secrets(attached: Attached) -> Iterator[Finding]:
    """Every key that the database knows is in its Secret, and the same one."""
    from mailhearth_local.saved_keys.places import ClusterPlace, watched_namespaces
    from mailhearth_operator.cluster.api import Api  # the client of Kubernetes is heavy

    place = ClusterPlace(Api.connect(), watched_namespaces(attached.stack.environ))
    there = {(one.workspace_id, one.version): one.key.fingerprint for one in place.collect()}
    good = 0
    for workspace in workspaces.listing(attached.cli):
        workspace_id, name = workspace["workspace_id"], workspace["name"]
        for row in keys.listing(attached.door, workspace_id):
            if row["state"] == "destroyed":
                continue
            found = there.get((workspace_id, row["version"]))
            if found == row["fingerprint"]:
                good += 1
                continue
            what = "is missing" if found is None else "is another one"
            text = f"{name}: the Secret of key version {row['version']} {what}"
            yield Finding("keys", FAIL, text, "see docs/kubernetes.md, KeysMissing")
    yield Finding("keys", OK, f"{good} private keys are there and match")


def overdue(attached: Attached) -> Iterator[Finding]:
    """Work that should have been done."""
    with attached.cli.tx() as conn:
        now = business_now(conn)
        groups = list(named("reports").demand(conn, now=now))
        clock = conn.execute("SELECT rate FROM business_clock").fetchone()
    late = []
    for group in groups:
        if group["oldest_due_at"] is None:
            continue
        age = (now - group["oldest_due_at"]).total_seconds() / (clock["rate"] if clock else 1)
        if age > OVERDUE_SECONDS:
            late.append(group)
            text = (
                f"{group['due_now']} things of group {group['worker_group']} are due, the oldest "
                f"since {short_time(group['oldest_due_at'])} ({group['reason']})"
            )
            hint = "see log/worker.log" if attached.running else "start `mailhearth up`"
            if attached.elsewhere:
                hint = "see `kubectl describe mbp`, and the logs of its workers"
            yield Finding("work", FAIL if attached.running else WARN, text, hint)
    if not late:
        due = sum(group["due_now"] for group in groups)
        yield Finding("work", OK, f"nothing is overdue; {due} due now")


def tenants(attached: Attached) -> Iterator[Finding]:
    """Workspaces, pools and mailboxes that need somebody."""
    short = capacity.shortages(capacity.pool_sizes(attached.cli))
    troubled = total = 0
    for workspace in workspaces.listing(attached.cli):
        workspace_id, name = workspace["workspace_id"], workspace["name"]
        if workspace["state"] != "active":
            text = f"{name} is {workspace['state']} {workspace['state_reason']}".strip()
            yield Finding("workspaces", WARN, text, f"mailhearth workspace show {name}")
        policies = {}
        for pool in pools.listing(attached.door, workspace_id):
            policies[pool["id"]] = Policy.from_json(pool["policy"])
            lack = short.get((workspace_id, pool["id"]))
            if lack is not None and pool["mailboxes"]:
                hint = f"add mailboxes, or: mailhearth pool set {pool['name']} -w {name} cap=N"
                yield Finding("pools", WARN, f"{name}/{pool['name']}: {lack.text}", hint)
        with attached.door.tenant_tx(workspace_id) as conn:
            domains = blockers.blocked_domains(conn, workspace_id, business_now(conn))
        for mailbox in mailboxes.listing(attached.door, workspace_id):
            total += 1
            found = blockers.of_mailbox(mailbox, domains, policies[mailbox["pool_id"]])
            serious = [b for b in found if b.code in {"excluded", "needs_reauth", "domain_blocked"}]
            if serious:
                troubled += 1
                text = f"{mailbox['address']}: {serious[0].text}"
                yield Finding("mailboxes", WARN, text, serious[0].hint)
    if not troubled:
        yield Finding("mailboxes", OK, f"{total} mailboxes, none in need of you")


CHECKS: tuple[Callable[[Attached], Iterator[Finding]], ...] = (
    database,
    schema,
    roles,
    private_keys,
    overdue,
    tenants,
)
CHECKS_OF_A_CLUSTER = (database, roles, key_secrets, overdue, tenants)
"""What can be seen from a pod of the operator, whose logins may not read what was migrated."""
