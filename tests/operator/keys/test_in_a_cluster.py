"""Keys that are Secrets: saved with no right but to list, brought back, given up."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pyrage
import pytest

from apiserver import ApiServer, Json
from cli import CommandLine
from custom_resources import Resources
from database import TestInstallation
from helm import containers, pod_template, render
from mailhearth_core.sealing import PrivateKey
from mailhearth_core.verbs import mailboxes
from mailhearth_operator.cluster.keys import key_secret
from operating import Operating
from waiting import wait_for

ANN = {
    "address": "ann@example.com",
    "imap": "imap.example.com:993",
    "smtp": "smtp.example.com:465",
    "password": "first",
    "consent": "true",
}
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"


@pytest.fixture
def operating(
    api: ApiServer, resources: Resources, installation: TestInstallation
) -> Iterator[Operating]:
    with Operating(api, resources, installation) as made:
        made.resources.created("Workspace", "acme", {})
        made.until("Workspace", "acme", "KeysReady", "True")
        yield made


@pytest.fixture
def identity(tmp_path: Path) -> str:
    path = tmp_path / "identity.txt"
    path.write_text(str(pyrage.x25519.Identity.generate()))
    return str(path)


def recipient(identity: str) -> str:
    return str(pyrage.x25519.Identity.from_str(Path(identity).read_text()).to_public())


def workspace_id(operating: Operating) -> str:
    found = operating.get("Workspace", "acme")
    assert found is not None
    return str(found["status"]["workspaceId"])


def key_name(operating: Operating, version: int = 1) -> str:
    return f"mailhearth-key-{workspace_id(operating)}-{version}"


def command_line(operating: Operating, tmp_path: Path, kubeconfig: Path) -> CommandLine:
    return CommandLine(
        tmp_path / "data",
        {"KUBECONFIG": str(kubeconfig), "MAILHEARTH_NAMESPACES": operating.namespace},
    )


def lose(operating: Operating) -> Json:
    """Deletes the key's Secret; returns what it was."""
    name = key_name(operating)
    before = operating.get("Secret", name)
    assert before is not None
    operating.api.must("DELETE", operating.path("Secret", name))
    operating.until("Workspace", "acme", "KeysReady", "False", "KeysMissing")
    return before


def cron_job(identity: str) -> tuple[list[Json], list[str]]:
    """Of the chart: what the account of its CronJob may do, and the job's words."""
    made = render({"backups": {"keys": {"enabled": True, "recipient": recipient(identity)}}})
    name = "mailhearth-keys-backup"
    job = pod_template(made.one("CronJob", name))
    assert job is not None
    return made.one("Role", name)["rules"], containers(job)[0]["args"]


def confined(operating: Operating, tmp_path: Path, rules: list[Json]) -> Path:
    """A kubeconfig of an account with these rights and no other."""
    api, namespace = operating.api, operating.namespace
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    api.must("POST", accounts, {"metadata": {"name": "keys-backup"}})
    api.must(
        "POST",
        f"{RBAC}/{namespace}/roles",
        {"metadata": {"name": "keys-backup"}, "rules": rules},
    )
    api.must(
        "POST",
        f"{RBAC}/{namespace}/rolebindings",
        {
            "metadata": {"name": "keys-backup"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": "keys-backup",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "keys-backup", "namespace": namespace}],
        },
    )
    made = api.must("POST", f"{accounts}/keys-backup/token", {"spec": {}})
    config = json.loads(api.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = made["status"]["token"]
    path = tmp_path / "confined"
    path.write_text(json.dumps(config))
    return path


def test_a_deleted_key_comes_back_and_the_operator_goes_on(
    operating: Operating, tmp_path: Path, identity: str
) -> None:
    operating.secret("ann", ANN)
    rules, words = cron_job(identity)
    cron = command_line(operating, tmp_path, confined(operating, tmp_path, rules))
    words = [word.replace("/backups/", f"{tmp_path}/") for word in words]
    made = cron.json(*words)
    assert made["keys"] == [f"{workspace_id(operating)}/1"]
    (out,) = tmp_path.glob("mailhearth-keys-*.age")
    kept = out.read_bytes()
    denied = cron.run(*words, "-n", "default", code=1)
    assert "may not list secrets" in denied.stderr
    assert [path.read_bytes() for path in tmp_path.glob("mailhearth-keys-*.age")] == [kept]
    assert not (tmp_path / "data").exists(), "no database was started for it"

    before = lose(operating)
    admin = command_line(operating, tmp_path, operating.api.kubeconfig)
    back = ("keys", "restore", str(out), "--identity", identity)
    name = key_name(operating)
    assert [one["done"] for one in admin.json(*back, "--dry-run")["keys"]] == ["restored"]
    assert operating.get("Secret", name) is None
    (done,) = admin.json(*back)["keys"]
    assert (done["done"], done["where"]) == ("restored", f"Secret {operating.namespace}/{name}")
    after = operating.get("Secret", name)
    assert after is not None
    for part in ("data", "type", "immutable"):
        assert after[part] == before[part], part
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    operating.until("Workspace", "acme", "KeysReady", "True")
    assert [one["done"] for one in admin.json(*back, "-w", "acme")["keys"]] == ["present"]

    before = lose(operating)
    other = PrivateKey.generate()
    uid = workspace_id(operating)
    body = key_secret(operating.namespace, UUID(uid), 1, other.raw())
    operating.api.must("POST", operating.path("Secret"), body)
    refused = admin.run(*back, "--json", code=1)
    (told,) = json.loads(refused.stdout)["keys"]
    assert told["done"] == "refused"
    assert other.fingerprint in told["why"]
    saved = PrivateKey(base64.b64decode(before["data"]["private"]))
    assert saved.fingerprint in told["why"]
    now = operating.get("Secret", name)
    assert now is not None
    assert base64.b64decode(now["data"]["private"]) == other.raw()


def test_a_key_goes_where_its_workspace_is_declared(
    operating: Operating, tmp_path: Path, identity: str
) -> None:
    """A file may come from elsewhere; without a resource its own namespace counts."""
    uid, key = workspace_id(operating), PrivateKey.generate()
    entry = {
        "fingerprint": key.fingerprint,
        "private": base64.b64encode(key.raw()).decode(),
        "namespace": "elsewhere",
    }
    stranger = {**entry, "namespace": operating.api.make_namespace()}
    lost = {name: text for name, text in entry.items() if name != "namespace"}
    unknown = "00000000-0000-0000-0000-00000000000"
    text = {
        "what": "private keys of Mailhearth",
        "format": 1,
        "installation": "",
        "made_at": "2026-03-01T00:00:00+00:00",
        "keys": {f"{uid}/9": entry, f"{unknown}1/1": stranger, f"{unknown}2/1": lost},
    }
    run = CommandLine(tmp_path / "data", {"KUBECONFIG": str(operating.api.kubeconfig)})
    answer = run.run("keys", "restore", "-", "--json", given=json.dumps(text), code=1)
    told = json.loads(answer.stdout)["keys"]
    assert [one["where"].split("/")[0] for one in told] == [
        f"Secret {operating.namespace}",
        f"Secret {stranger['namespace']}",
    ]
    assert f"{unknown}2" in json.loads(answer.stderr)["error"]["message"]


def test_a_key_is_given_up_and_the_workers_mount_a_new_one(
    operating: Operating, installation: TestInstallation, tmp_path: Path
) -> None:
    operating.secret("ann", ANN)
    spec = {"workspaceRef": {"name": "acme"}, "mailboxes": [{"secretName": "ann"}]}
    operating.resources.created("MailboxPool", "sales", spec)
    operating.until("MailboxPool", "sales", "CredentialsSealed", "True", "Sealed")
    wait_for(lambda: operating.get("Deployment", "sales-workers") is not None)
    operating.roll_out("sales-workers")
    workspace = UUID(workspace_id(operating))
    pool = installation.one("SELECT id FROM pools")["id"]
    installation.mailbox(workspace, pool, "bob@example.com")
    lose(operating)

    run = CommandLine(
        tmp_path / "data",
        {
            "KUBECONFIG": str(operating.api.kubeconfig),
            "MAILHEARTH_CLI_DATABASE_URL": installation.url("cli").reveal(),
        },
    )
    done = run.json("keys", "abandon", "-w", "acme", "--version", "1", "--yes", "acme")
    assert done["credentials"] == 4
    assert {one["address"]: one["declared_by"] for one in done["mailboxes"]} == {
        "ann@example.com": "ann",
        "bob@example.com": None,
    }

    def mounted() -> bool:
        found = operating.get("Deployment", "sales-workers")
        return found is not None and key_name(operating, 2) in json.dumps(found)

    wait_for(mounted, 30)
    assert key_name(operating, 1) not in json.dumps(operating.get("Deployment", "sales-workers"))
    operating.until("Workspace", "acme", "KeysReady", "True")
    assert installation.rows("SELECT version FROM key_versions WHERE state = 'active'") == [
        {"version": 2}
    ]

    def state(address: str) -> str:
        found = mailboxes.listing(installation.door, workspace)
        return next(str(row["state"]) for row in found if row["address"] == address)

    wait_for(lambda: state("ann@example.com") == "active", 30)
    assert state("bob@example.com") == "needs_reauth"
    sealed = installation.rows("SELECT DISTINCT mailbox_id, key_version FROM sealed_credentials")
    assert [row["key_version"] for row in sealed] == [2]


def test_doctor_in_the_operators_pod_looks_at_the_secrets(
    operating: Operating, tmp_path: Path
) -> None:
    kubeconfig = {"KUBECONFIG": str(operating.api.kubeconfig)}
    pod = CommandLine(tmp_path / "data", operating.variables | kubeconfig)
    told = pod.json("doctor")
    assert {one["check"] for one in told["findings"]} >= {"database", "roles", "keys", "work"}
    assert {one["level"] for one in told["findings"]} == {"ok"}
    before = lose(operating)
    told = json.loads(pod.run("doctor", "--json", code=1).stdout)
    (missing,) = (one for one in told["findings"] if one["level"] == "fail")
    assert missing["text"] == "acme: the Secret of key version 1 is missing"
    other = {"private": base64.b64encode(PrivateKey.generate().raw()).decode()}
    kept = {key: before["metadata"][key] for key in ("name", "labels")}
    operating.api.must(
        "POST", operating.path("Secret"), {**before, "metadata": kept, "data": other}
    )
    told = json.loads(pod.run("doctor", "--json", code=1).stdout)
    assert "acme: the Secret of key version 1 is another one" in {
        one["text"] for one in told["findings"]
    }
