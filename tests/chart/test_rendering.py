"""What the chart makes of many values: every object fits the others and the product's settings."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from prometheus_client import CollectorRegistry

from helm import CASES, CHART, NAMESPACE, Json, Rendered, containers, render, rendered
from mailhearth_core.metrics import Metrics
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import PREFIX, ProcessSettings, SchedulerSettings, WorkerSettings
from mailhearth_core.storage.doors import Database
from mailhearth_local.pods.owner import OwnerSettings
from mailhearth_local.sandbox.demo import demo_users
from mailhearth_local.sandbox.zone import zone as sandbox_zone
from mailhearth_operator.cluster.seen import Seen
from mailhearth_operator.engine.demand import Demands
from mailhearth_operator.engine.mailboxes import OPTIONS
from mailhearth_operator.metrics import PoolCollector
from mailhearth_operator.settings import OperatorSettings
from mailhearth_web.settings import WebSettings

cases = pytest.mark.parametrize("case", list(CASES))
GIVEN = b"rediss://worker:password@redis.example.org:6379/0?ssl_ca_certs=/ca/ca.crt"
WITH_TOKEN = {"operator", "let-go", "keys-backup"}
NOT_SETTINGS = re.compile(r"[A-Z]*_?(DATABASE|REDIS)_PASSWORD|OWNER_USERNAME")
"""Variables that others are put together from."""


def variables(settings: type[ProcessSettings]) -> set[str]:
    return {f"{PREFIX}{field.upper()}" for field in settings.model_fields}


FOR_LINKS = {f"{PREFIX}{name}" for name in ("LOCAL_SIGN_IN", "PUBLIC_URL")}
"""Of `mailhearth sign-in link` in the operator's pod."""
KNOWN = {
    "web": variables(WebSettings),
    "scheduler": variables(SchedulerSettings),
    "operator": variables(OperatorSettings) | FOR_LINKS,
    "let-go": variables(OperatorSettings) | FOR_LINKS,
    "volume": set(),
    "prepare": variables(OwnerSettings),
    "backup": variables(OwnerSettings),
    "keys-backup": {f"{PREFIX}{name}" for name in ("INSTALLATION", "NAMESPACE", "NAMESPACES")},
    "postgres": {f"{PREFIX}ARCHIVE_FOLDER"},
    "redis": set(),
    "sandbox": set(),
    "test": set(),
}


def component(pod: Json) -> str:
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])


@cases
def test_pods_are_restricted_and_their_root_is_read_only(case: str) -> None:
    for name, pod in rendered(case).pods():
        spec = pod["spec"]
        assert spec["enableServiceLinks"] is False, name
        assert (
            spec["securityContext"].items()
            >= {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            }.items()
        ), name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["requests"], name
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}, name


@cases
def test_only_what_speaks_to_kubernetes_has_a_token(case: str) -> None:
    found = rendered(case)
    bound = {
        subject["name"]
        for kind in ("RoleBinding", "ClusterRoleBinding")
        for binding in found.of(kind)
        for subject in binding["subjects"]
    }
    for account in found.of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for name, pod in found.pods():
        due = component(pod) in WITH_TOKEN
        assert pod["spec"]["automountServiceAccountToken"] is due, name
        assert (pod["spec"]["serviceAccountName"] in bound) is due, name


@cases
def test_processes_are_given_their_own_settings_alone(case: str) -> None:
    seen = set()
    for name, pod in rendered(case).pods():
        for container in containers(pod):
            seen.add(component(pod))
            given = [entry["name"] for entry in container.get("env", [])]
            assert len(given) == len(set(given)), f"{name}: {given}"
            plain = {re.sub("(_PROVIDERS|_URL)_FILE$", r"\1", one) for one in given}
            unknown = plain - KNOWN[component(pod)]
            assert {one for one in unknown if not NOT_SETTINGS.fullmatch(one)} == set(), name
            for place, entry in enumerate(container.get("env", [])):
                needed = set(re.findall(r"\$\(([A-Z_]+)\)", entry.get("value", "")))
                assert needed <= set(given[:place]), f"{name}: {entry['name']} comes too early"
    assert {"web", "scheduler", "operator", "prepare"} <= seen


@cases
def test_settings_are_taken_by_the_processes(case: str) -> None:
    """What web and scheduler would read of the rendered environment, passwords filled in."""
    settings: dict[str, type[ProcessSettings]] = {
        "web": WebSettings,
        "scheduler": SchedulerSettings,
        "prepare": OwnerSettings,
        "backup": OwnerSettings,
    }
    for _, pod in rendered(case).pods():
        kind = settings.get(component(pod))
        if kind is None:
            continue
        environ: dict[str, str] = {}
        for entry in pod["spec"]["containers"][0]["env"]:
            value = entry.get("value", "aPassword1")
            for known, text in environ.items():
                value = value.replace(f"$({known})", text)
            if not entry["name"].endswith("_FILE"):
                environ[entry["name"]] = value
        loaded = kind.load({k: v for k, v in environ.items() if k.startswith(PREFIX)})
        assert str(loaded.environment) == ("staging" if case == "sandbox" else "production")


@cases
def test_what_is_named_exists_or_is_the_users(case: str) -> None:
    found = rendered(case)
    made = {
        (kind, one["metadata"]["name"]): one
        for kind in ("Secret", "ConfigMap", "PersistentVolumeClaim", "ServiceAccount")
        for one in found.of(kind)
        if one["metadata"]["namespace"] == NAMESPACE
    }
    for certificate in found.of("Certificate"):
        made["Secret", certificate["spec"]["secretName"]] = {"data": {"tls.crt": 0, "tls.key": 0}}
    for one in found.of("StatefulSet"):
        for claim in one["spec"]["volumeClaimTemplates"]:
            named = f"{claim['metadata']['name']}-{one['metadata']['name']}-0"
            made["PersistentVolumeClaim", named] = {}
    for name, pod in found.pods():
        for kind, named, keys in references(pod):
            if named.startswith("users-"):
                continue
            assert (kind, named) in made, f"{name} names {kind} {named}"
            assert keys <= made[kind, named].get("data", {}).keys(), f"{name}: {named} {keys}"


def references(pod: Json) -> list[tuple[str, str, set[str]]]:
    """Kind, name and keys of all that a pod cannot start without."""
    spec = pod["spec"]
    found: list[tuple[str, str, set[str]]] = [("ServiceAccount", spec["serviceAccountName"], set())]
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            keys = {item["key"] for item in volume["secret"].get("items", [])}
            found.append(("Secret", volume["secret"]["secretName"], keys))
        if "configMap" in volume:
            found.append(("ConfigMap", volume["configMap"]["name"], set()))
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            found.append(("PersistentVolumeClaim", claim, set()))
    for container in containers(pod):
        for entry in container.get("env", []):
            if "secretKeyRef" in entry.get("valueFrom", {}):
                key = entry["valueFrom"]["secretKeyRef"]
                found.append(("Secret", key["name"], {key["key"]}))
    return found


@cases
def test_volumes_services_and_probes_lead_somewhere(case: str) -> None:
    found = rendered(case)
    pods = dict(found.pods())
    for name, pod in pods.items():
        claims = [
            claim["metadata"]["name"]
            for one in found.of("StatefulSet")
            if f"StatefulSet {one['metadata']['name']}" == name
            for claim in one["spec"]["volumeClaimTemplates"]
        ]
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])} | set(claims)
        mounted = {
            mount["name"] for container in containers(pod) for mount in container["volumeMounts"]
        }
        assert mounted == volumes, name
        ports = port_names(pod)
        for container in containers(pod):
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                for how in ("httpGet", "tcpSocket"):
                    if how in container.get(probe, {}):
                        assert container[probe][how]["port"] in ports, name
    for service in found.of("Service"):
        selector = service["spec"]["selector"]
        if selector.get("app.kubernetes.io/component") == "worker":
            continue  # the operator makes them
        chosen = [
            pod
            for name, pod in pods.items()
            if selector.items() <= pod["metadata"]["labels"].items()
        ]
        assert chosen
        for port in service["spec"]["ports"]:
            assert any(port["targetPort"] in port_names(pod) for pod in chosen)


def port_names(pod: Json) -> dict[str, int]:
    return {
        port["name"]: port["containerPort"]
        for container in containers(pod)
        for port in container.get("ports", [])
    }


@cases
def test_ports_are_those_agreed(case: str) -> None:
    agreed = {
        "metrics": 9090,
        "probes": 8081,
        "http": 8080,
        "https": 8080,
        "postgres": 5432,
        "redis": 6379,
        "smtp": 1025,
        "smtps": 1465,
        "imaps": 1993,
    }
    for name, pod in rendered(case).pods():
        assert port_names(pod).items() <= agreed.items(), name
        if component(pod) in ("web", "scheduler", "operator"):
            assert {"metrics", "probes"} <= port_names(pod).keys()


@cases
def test_workloads_select_their_own_pods_alone(case: str) -> None:
    found = rendered(case)
    pods = dict(found.pods())
    for one in [*found.of("Deployment"), *found.of("StatefulSet")]:
        selector = one["spec"]["selector"]["matchLabels"]
        chosen = [
            name
            for name, pod in pods.items()
            if selector.items() <= pod["metadata"]["labels"].items()
        ]
        assert chosen == [f"{one['kind']} {one['metadata']['name']}"]


@cases
def test_each_pod_is_under_a_policy_of_its_own(case: str) -> None:
    found = rendered(case)
    policies = found.of("NetworkPolicy")
    if case == "bare":
        assert policies == []
        return
    for name, pod in found.pods():
        over = [
            policy["metadata"]["name"]
            for policy in policies
            if policy["spec"]["podSelector"]["matchLabels"].items()
            <= pod["metadata"]["labels"].items()
        ]
        assert sorted(over) == sorted({"mailhearth-default", f"mailhearth-{component(pod)}"}), name


def test_who_may_reach_the_bundled_postgres_and_redis() -> None:
    def allowed(service: str) -> set[str]:
        (rule,) = rendered("sandbox").one("NetworkPolicy", f"mailhearth-{service}")["spec"][
            "ingress"
        ]
        own, workers = (peer["podSelector"] for peer in rule["from"])
        assert workers["matchLabels"]["app.kubernetes.io/component"] == "worker"
        return set(own["matchExpressions"][0]["values"])

    assert allowed("postgres") == {"web", "scheduler", "operator", "prepare", "backup"}
    assert allowed("redis") == {"web", "scheduler"}


def test_the_migration_is_a_job_first_and_a_hook_later() -> None:
    def job(values: Json, *, upgrade: bool = False) -> Json:
        (found,) = (
            one
            for one in render(values, upgrade=upgrade).of("Job")
            if component(one["spec"]["template"]) == "prepare"
        )
        return found

    first = job({})
    assert "annotations" not in first["metadata"]
    later = job({}, upgrade=True)
    assert later["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    assert later["metadata"]["name"] != first["metadata"]["name"]
    volumes = later["spec"]["template"]["spec"]["volumes"]
    for volume in volumes:
        if volume["name"] == "ca":
            volume["configMap"]["name"] = "mailhearth-ca"
    assert later["spec"] == first["spec"]
    newer = job({"image": {"tag": "0.2.0"}})
    assert newer["metadata"]["name"] != first["metadata"]["name"]  # a Job cannot be changed


def test_nothing_is_drawn_by_lot_where_the_users_secrets_are_given() -> None:
    assert render(CASES["gitops"]) == render(CASES["gitops"])


def test_urls_are_verified_and_say_no_password() -> None:
    for case in CASES:
        for name, pod in rendered(case).pods():
            for container in containers(pod):
                for entry in container.get("env", []):
                    value = entry.get("value", "")
                    if value.startswith("postgresql://"):
                        assert "sslmode=verify-full&sslrootcert=/ca/ca.crt" in value, name
                    if value.startswith("redis"):
                        assert value.startswith("rediss://"), name
                        assert value.endswith("?ssl_ca_certs=/ca/ca.crt"), name
                    if "://" in value and "@" in value:
                        assert re.search(r":\$\([A-Z_]+_PASSWORD\)@", value), name


RIGHTS = {
    ("mailhearth.io", "workspaces"): {"get", "list", "watch", "patch", "create", "delete"},
    ("mailhearth.io", "mailboxpools"): {"get", "list", "watch", "patch", "create", "delete"},
    ("mailhearth.io", "workspaces/status"): {"patch"},
    ("mailhearth.io", "mailboxpools/status"): {"patch"},
    ("", "secrets"): {"get", "list", "watch", "create", "patch", "delete"},
    ("apps", "deployments"): {"list", "watch", "create", "patch", "delete"},
    ("networking.k8s.io", "networkpolicies"): {"list", "watch", "create", "patch", "delete"},
    ("policy", "poddisruptionbudgets"): {"list", "watch", "create", "patch", "delete"},
    ("events.k8s.io", "events"): {"create"},
}


def rights(*roles: Json) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for role in roles:
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


def test_the_operators_rights_are_these_and_end_at_its_namespaces() -> None:
    narrow = rendered("trial")
    assert narrow.of("ClusterRole") == narrow.of("ClusterRoleBinding") == []
    assert rights(*narrow.of("Role")) == RIGHTS
    wide = rendered("cluster-wide")
    (opted,) = wide.of("ClusterRole")
    assert rights(opted) == RIGHTS
    assert wide.of("ClusterRoleBinding") == []
    where = {
        one["metadata"]["namespace"]
        for one in wide.of("RoleBinding")
        if one["roleRef"]["name"] == opted["metadata"]["name"]
    }
    assert where == {"mh", "north", "south"}


def test_workers_of_every_namespace_find_what_the_platform_names() -> None:
    for case, served in (("trial", {"mh"}), ("cluster-wide", {"mh", "north", "south"})):
        found = rendered(case)
        text = found.one("ConfigMap", "mailhearth-platform")["data"]["platform.yaml"]
        platform = yaml.safe_load(text)
        host = "mailhearth-postgres" + (".mh.svc" if case == "cluster-wide" else "")
        assert urlsplit(platform["databaseUrl"]).hostname == host
        for kind, name, key in (
            ("ConfigMap", platform["databaseCa"], "ca.crt"),
            ("Secret", platform["redisSecret"], "url"),
        ):
            where = {
                one["metadata"]["namespace"]
                for one in found.of(kind)
                if one["metadata"]["name"] == name and key in one["data"]
            }
            assert where == served


def test_the_migration_of_an_upgrade_trusts_what_the_upgrade_says() -> None:
    """A hook runs before the release's ConfigMap changes: a wrong authority would stay for ever."""
    made = render(CASES["external"], upgrade=True)
    job = made.one("Job", "mailhearth-upgrade")
    (name,) = (
        volume["configMap"]["name"]
        for volume in job["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "ca"
    )
    own = made.one("ConfigMap", name)
    assert own["data"] == made.one("ConfigMap", "mailhearth-ca")["data"]
    hook = own["metadata"]["annotations"]
    assert hook["helm.sh/hook"] == job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    assert int(hook["helm.sh/hook-weight"]) < 0
    assert "mailhearth-ca-upgrade" not in str(render(CASES["gitops"], upgrade=True).of("Job"))


def test_the_platform_says_all_that_the_operator_reads() -> None:
    for case in CASES:
        text = rendered(case).one("ConfigMap", "mailhearth-platform")["data"]["platform.yaml"]
        platform = yaml.safe_load(text)
        assert platform.keys() == {
            *("image", "pullPolicy", "imagePullSecrets", "installation", "releaseNamespace"),
            *("environment", "databaseUrl", "databaseCa", "databasePort", "redisSecret"),
            *("redisPort", "oauthSecret", "dnsNamespace", "dnsPorts", "mailPorts", "settings"),
        }
        named = "users-clients" if case == "gitops" else None
        assert platform["oauthSecret"] == named
        assert platform["installation"] == "mh/mailhearth"
        assert all(isinstance(value, str) for value in platform["settings"].values())
        secrets = {
            one["metadata"]["name"]: one.get("data", {}) for one in rendered(case).of("Secret")
        }
        redis = secrets.get(platform["redisSecret"], {"url": base64.b64encode(GIVEN)})["url"]
        settings = WorkerSettings.load(
            platform["settings"]
            | {
                "MAILHEARTH_ENVIRONMENT": platform["environment"],
                "MAILHEARTH_DATABASE_URL": platform["databaseUrl"],
                "MAILHEARTH_REDIS_URL": base64.b64decode(redis).decode(),
                "MAILHEARTH_LOGINS_FOLDER": "/logins",
                "MAILHEARTH_KEYS_FOLDER": "/keys",
                "MAILHEARTH_DATA_FOLDER": "/data",
                "MAILHEARTH_GROUPS": "sales",
                "MAILHEARTH_NAME": "sales-workers-1",
            }
        )
        assert platform["settings"].keys() <= variables(WorkerSettings)
        assert settings.zone_file == (Path("/ca/zone.json") if case == "sandbox" else None)


def test_the_sandbox_is_found_and_its_mailboxes_are_declared(tmp_path: Path) -> None:
    found = rendered("sandbox")
    host = "mailhearth-sandbox.mh.svc.cluster.local"
    zone = json.loads(found.one("ConfigMap", "mailhearth-ca")["data"]["zone.json"])
    told = sandbox_zone(["harbour.test", "meadow.test", "summit.test"], 1025, host)
    assert zone == {name: told[name] for name in zone}
    assert {"imap.sandbox.test", "smtp.sandbox.test", "mx.harbour.test"} <= zone.keys()
    seed = base64.b64decode(found.one("Secret", "mailhearth-sandbox")["data"]["seed"]).decode()
    authority = found.one("Secret", "mailhearth-sandbox-authority")["data"]["tls.crt"]
    declared = {}
    for secret in found.of("Secret"):
        if secret["metadata"]["labels"].get("mailhearth.io/mailbox") == "true":
            values = secret["stringData"]
            declared[values["address"]] = (values["password"], values["name"], values["timezone"])
            assert values.keys() <= OPTIONS
            assert values["ca"].strip() == base64.b64decode(authority).decode().strip()
    assert declared == {
        user.address: (user.password.reveal(), f"{user.first_name} {user.last_name}", user.timezone)
        for user in demo_users(Secret(seed))
    }
    text = found.one("ConfigMap", "mailhearth-platform")["data"]["platform.yaml"]
    assert {1025, 1465, 1993} <= set(yaml.safe_load(text)["mailPorts"])


def test_the_definitions_are_the_products_and_stay() -> None:
    source = CHART.parents[1] / "crds"
    found = rendered("trial").of("CustomResourceDefinition")
    assert len(found) == len(list(source.glob("*.yaml")))
    for definition in found:
        assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert rendered("bare").of("CustomResourceDefinition") == []


def test_alerts_and_dashboard_name_metrics_that_exist() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    registry.register(PoolCollector(Seen(), Demands(Database(Secret("")), lambda *_: None)))
    known = set()
    for metric in registry.collect():
        known |= {metric.name, *(f"{metric.name}_{end}" for end in ("total", "bucket", "count"))}
    found = rendered("backups"), rendered("monitoring")
    rules = [
        rule for one in found for rule in one.of("PrometheusRule")[0]["spec"]["groups"][0]["rules"]
    ]
    board = found[1].one("ConfigMap", "mailhearth-dashboard")["data"]["mailhearth.json"]
    expressions = [rule["expr"] for rule in rules]
    expressions += [
        target["expr"]
        for panel in json.loads(board)["panels"]
        for target in panel.get("targets", [])
    ]
    for expression in expressions:
        assert set(re.findall(r"mailhearth_\w+", expression)) <= known, expression
    names = {rule["alert"] for rule in rules}
    assert {"PoolAsleepWithDueWork", "BackupMissed"} <= names
    for rule in rules:
        anchor = rule["annotations"]["runbook_url"]
        assert anchor == f"docs/operations.md#{rule['alert'].lower()}"


def test_a_release_of_another_name_carries_the_products() -> None:
    found: Rendered = render({}, release="post")
    assert found.one("Service", "post-mailhearth-postgres")
    long = render(CASES["backups"], release="a-release-with-as-many-letters-as-helm-will-take-now")
    for one in long.objects:
        assert len(one["metadata"]["name"]) <= (52 if one["kind"] == "CronJob" else 63)
