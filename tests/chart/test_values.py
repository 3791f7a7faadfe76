"""The chart's values: described, checked, and refused with a sentence that helps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from helm import CASES, CHART, EXTERNAL, RECIPIENT, HelmRefused, Json, chart_values, helm, render
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import PREFIX, SchedulerSettings, WorkerSettings
from mailhearth_web.settings import WebSettings

BAD: list[tuple[Json, str]] = [
    ({"web": {"replicsa": 2}}, "additional properties 'replicsa' not allowed"),
    ({"wbe": {}}, "additional properties 'wbe' not allowed"),
    ({"web": {"replicas": 0}}, "at '/web/replicas': minimum: got 0, want 1"),
    ({"web": {"replicas": "3"}}, "at '/web/replicas': got string, want integer"),
    ({"web": {"publicUrl": "mail.example.org"}}, "at '/web/publicUrl'"),
    ({"web": {"publicUrl": "http://mail.example.org"}}, "at '/web/publicUrl'"),
    ({"web": {"publicUrl": "https://mail.example.org/app"}}, "at '/web/publicUrl'"),
    (
        {"web": {"settings": {"MAILHEARTH_KEEP_AUDIT_DAYS": 9}}},
        "at '/web/settings': additional properties 'MAILHEARTH_KEEP_AUDIT_DAYS' not allowed",
    ),
    (
        {"workers": {"settings": {"MAILHEARTH_GOOGLE_CLIENT_SECRET": "x"}}},
        "at '/workers/settings': additional properties 'MAILHEARTH_GOOGLE_CLIENT_SECRET'",
    ),
    ({"web": {"service": {"type": "Cluster"}}}, "'ClusterIP', 'NodePort', 'LoadBalancer'"),
    ({"web": {"service": {"port": 70000}}}, "maximum: got 70,000, want 65,535"),
    ({"environment": "prod"}, "one of '', 'production', 'staging', 'development'"),
    ({"image": {"tag": "a b"}}, "at '/image/tag'"),
    ({"image": {"digest": "sha256:12"}}, "at '/image/digest'"),
    ({"image": {"pullPolicy": "always"}}, "'Always', 'IfNotPresent', 'Never'"),
    ({"database": {"rolePrefix": "Mail"}}, "at '/database/rolePrefix'"),
    ({"database": {"bundled": {"storage": {"size": "8 Gi"}}}}, "/database/bundled/storage/size"),
    ({"trust": {"certificates": "MIIB"}}, "at '/trust/certificates'"),
    ({"backups": {"database": {"schedule": "daily"}}}, "at '/backups/database/schedule'"),
    ({"backups": {"keys": {"enabled": True}}}, "at '/backups/keys/recipient': minLength"),
    ({"backups": {"keys": {"recipient": "ssh-ed25519 AAAA"}}}, "at '/backups/keys/recipient'"),
    ({"sandbox": {"networks": ["everywhere"]}}, "at '/sandbox/networks/0'"),
    ({"networkPolicies": {"webFrom": [{"cidr": "::/0"}]}}, "additional properties 'cidr'"),
    ({"pods": {"tolerations": {"key": "x"}}}, "at '/pods/tolerations': got object, want array"),
    ({"web": {"pods": {"nodeselector": {}}}}, "additional properties 'nodeselector' not allowed"),
    ({"web": {"resources": {"limit": {}}}}, "additional properties 'limit' not allowed"),
    ({"database": {"bundled": {"enabled": False}}}, "give database.external.host"),
    ({"redis": {"bundled": {"enabled": False}}}, "give redis.external.host"),
    ({"database": {"external": {"host": "db"}}}, "set database.bundled.enabled=false with it"),
    ({"redis": {"external": {"host": "redis"}}}, "set redis.bundled.enabled=false with it"),
    (EXTERNAL | {"trust": {}}, "trust.certificates: give the authority (PEM)"),
    (
        CASES["trial"] | {"trust": {"existingConfigMap": "authorities"}},
        "the chart's own authority is not in it",
    ),
    ({"tls": {"issuer": {"name": "house"}}}, "give the issuer's authority"),
    (
        {"sandbox": {"enabled": True}, "environment": "production"},
        "never production",
    ),
    ({"ingress": {"enabled": True}}, "ingress.host: is needed"),
    ({"ingress": {"enabled": True, "host": "a.org"}}, "ingress.tls.secretName: is needed"),
    (
        {
            "ingress": {"enabled": True, "host": "a.org", "tls": {"secretName": "x"}},
            "web": {"publicUrl": "https://b.org"},
        },
        "web.publicUrl: is not https://<ingress.host>",
    ),
    (
        {"web": {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}},
        "minReplicas is above maxReplicas",
    ),
    ({"scheduler": {"replicas": 2}}, "set scheduler.storage.accessMode=ReadWriteMany"),
    ({"operator": {"namespaces": ["north"]}}, "is for operator.clusterWide=true"),
    ({"backups": {"base": {"enabled": True}}}, "set database.bundled.archive.enabled=true"),
]


@pytest.mark.parametrize(("values", "sentence"), BAD, ids=[text[:40] for _, text in BAD])
def test_a_mistake_is_refused_with_a_sentence(values: Json, sentence: str) -> None:
    with pytest.raises(HelmRefused, match=re.escape(sentence)):
        render(values)


def test_helm_has_nothing_to_say_against_it() -> None:
    for values in ({}, CASES["large"], {"backups": {"keys": {"recipient": RECIPIENT}}}):
        said = helm("lint", "--strict", str(CHART), values=values)
        assert "[WARNING]" not in said
        assert "[ERROR]" not in said


def leaves(values: Json, schema: Json, definitions: Json, path: str = "") -> Iterator[str]:
    """Paths of the values, each held against its place in the schema."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
    known = schema.get("properties", {})
    if not known or schema.get("additionalProperties") is not False or not values:
        yield path
        return
    for name in values:
        assert name in known, f"the schema lacks {path}.{name}"
        below = f"{path}.{name}" if path else name
        if isinstance(values[name], dict):
            yield from leaves(values[name], known[name], definitions, below)
        else:
            assert "type" in known[name] or "enum" in known[name], below
            yield below


def test_the_schema_knows_each_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = chart_values()
    assert list(leaves(values, schema, schema["$defs"]))

    def same(found: Json, known: Json, path: str) -> None:
        if "$ref" in known or known.get("additionalProperties") is not False or not found:
            return
        assert found.keys() == known["properties"].keys(), path
        for name, value in found.items():
            if isinstance(value, dict):
                same(value, known["properties"][name], f"{path}.{name}")

    known = schema | {
        "properties": {k: v for k, v in schema["properties"].items() if k != "global"}
    }
    same(values, known, "")


def test_the_readme_lists_each_value_with_its_default() -> None:
    rows = dict(
        re.findall(
            r"^\| `([A-Za-z.]+)` \| `(.+)` \| \S.* \|$", (CHART / "README.md").read_text(), re.M
        )
    )
    told = {path: json.loads(text) for path, text in rows.items()}
    values = chart_values()

    def at(path: str) -> Any:
        found: Any = values
        for name in path.split("."):
            found = found[name]
        return found

    def paths(found: Json, before: str) -> Iterator[str]:
        for name, value in found.items():
            path = f"{before}{name}"
            if path not in told and isinstance(value, dict) and value:
                yield from paths(value, f"{path}.")
            else:
                yield path

    assert list(paths(values, "")) == list(told)
    assert {path: at(path) for path in told} == told


@pytest.mark.parametrize(
    ("part", "settings", "own"),
    [
        (
            "web",
            WebSettings,
            {"environment", "web_host", "web_port", "public_url", "local_sign_in"},
        ),
        ("scheduler", SchedulerSettings, {"environment", "data_folder"}),
        (
            "workers",
            WorkerSettings,
            {
                *("environment", "database_url", "role_prefix", "logins_folder", "keys_folder"),
                *("data_folder", "groups", "name", "drain_deadline_seconds", "zone_file"),
            },
        ),
    ],
)
def test_further_settings_are_all_that_the_chart_does_not_set(
    part: str, settings: type[Any], own: set[str]
) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = schema["properties"][part]["properties"]["settings"]["properties"]
    own |= {"listen_host", "metrics_port", "health_port", "web_tls_certificate", "web_tls_key"}
    open_to_all = {
        f"{PREFIX}{field.upper()}": about.description
        for field, about in settings.model_fields.items()
        if field not in own and about.annotation is not Secret
    }
    assert {name: entry["description"] for name, entry in known.items()} == open_to_all
