"""A pool's workers: their Deployment, disruption budget and network policy.

The pods meet the Pod Security Standard `restricted`, have a read-only root, hold no service account
token, and see the keys and logins of their own workspaces only. The standard:
https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from typing import Any

from mailhearth_operator.manifests.model import METRICS_PORT, PROBES_PORT, Platform, Pool

Object = dict[str, Any]
KEYS, LOGINS, CA, DATA = "/keys", "/logins", "/ca", "/data"
UID = 10001
UNWISHED_IN_POD = (
    "initContainers",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "hostAliases",
    "dnsConfig",
    "nodeName",
    "serviceAccountName",
    "shareProcessNamespace",
)
UNWISHED_IN_CONTAINER = ("command", "envFrom", "lifecycle", "workingDir", "stdin", "tty")
UNWISHED_RIGHTS = ("privileged", "procMount", "runAsUser", "runAsNonRoot", "seccompProfile")
DRAIN_S = 30
"""A worker is given so long to end what it has begun; then a message that left is uncertain."""


def objects(platform: Platform, pool: Pool) -> list[Object]:
    """All that belongs to a pool, in the order in which it is applied."""
    made = [_network_policy(platform, pool)]
    if pool.most > 1:
        made.append(_disruption_budget(pool))
    return [*made, deployment(platform, pool)]


def deployment(platform: Platform, pool: Pool) -> Object:
    return _object(
        "apps/v1",
        "Deployment",
        pool,
        {
            "replicas": pool.replicas,
            "selector": {"matchLabels": pool.selector()},
            # A new version is up before the old one goes: two may serve a group, leases part them.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": {
                "metadata": {
                    "labels": pool.labels(),
                    "annotations": {
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": str(METRICS_PORT),
                    },
                },
                "spec": _pod(platform, pool),
            },
        },
    )


def closed(body: Object) -> Object:
    """An object with what must not be in it as None; a merge patch of it takes that out.

    The other fields that the API has besides are the server's defaults, or harmless.
    """
    if body["kind"] != "Deployment":
        return body
    template = body["spec"]["template"]
    pod = dict.fromkeys(UNWISHED_IN_POD) | template["spec"]
    pod["containers"] = [
        dict.fromkeys(UNWISHED_IN_CONTAINER)
        | one
        | {
            "securityContext": dict.fromkeys(UNWISHED_RIGHTS)
            | one["securityContext"]
            | {"capabilities": {"add": None, "drop": ["ALL"]}}
        }
        for one in template["spec"]["containers"]
    ]
    return body | {"spec": body["spec"] | {"template": template | {"spec": pod}}}


def _pod(platform: Platform, pool: Pool) -> Object:
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": DRAIN_S + 15,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": pool.selector()},
            }
        ],
        "containers": [_container(platform, pool)],
        "volumes": [
            {"name": "keys", "projected": {"defaultMode": 0o440, "sources": _keys(pool)}},
            {"name": "logins", "projected": {"defaultMode": 0o440, "sources": _logins(pool)}},
            {"name": "data", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }
    if platform.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in platform.image_pull_secrets]
    if platform.database_ca is not None:
        spec["volumes"].append({"name": "ca", "configMap": {"name": platform.database_ca}})
    return spec


def _container(platform: Platform, pool: Pool) -> Object:
    mounts = [
        {"name": "keys", "mountPath": KEYS, "readOnly": True},
        {"name": "logins", "mountPath": LOGINS, "readOnly": True},
        {"name": "data", "mountPath": DATA},
    ]
    if platform.database_ca is not None:
        mounts.append({"name": "ca", "mountPath": CA, "readOnly": True})
    return {
        "name": "worker",
        "image": platform.image,
        "imagePullPolicy": platform.pull_policy,
        "args": ["worker", "--group", pool.group],
        "env": _environment(platform, pool),
        "ports": [
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
            {"name": "probes", "containerPort": PROBES_PORT, "protocol": "TCP"},
        ],
        # A worker that hangs in one step is ended; one that waits for Postgres is not.
        "livenessProbe": _probe("/healthz", period=10, failures=6),
        "readinessProbe": _probe("/readyz", period=5, failures=3),
        "startupProbe": _probe("/healthz", period=2, failures=60),
        "resources": dict(pool.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _environment(platform: Platform, pool: Pool) -> list[Object]:
    values = {
        **platform.settings,
        "MAILHEARTH_ENVIRONMENT": platform.environment,
        "MAILHEARTH_DATABASE_URL": platform.database_url,
        "MAILHEARTH_LOGINS_FOLDER": LOGINS,
        "MAILHEARTH_KEYS_FOLDER": KEYS,
        "MAILHEARTH_DATA_FOLDER": DATA,
        "MAILHEARTH_GROUPS": pool.group,
        "MAILHEARTH_LISTEN_HOST": "0.0.0.0",  # noqa: S104 - in a pod, behind a NetworkPolicy
        "MAILHEARTH_METRICS_PORT": str(METRICS_PORT),
        "MAILHEARTH_HEALTH_PORT": str(PROBES_PORT),
        "MAILHEARTH_DRAIN_DEADLINE_SECONDS": str(DRAIN_S),
    }
    return [
        {"name": "MAILHEARTH_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {
            "name": "MAILHEARTH_REDIS_URL",
            "valueFrom": {"secretKeyRef": {"name": platform.redis_secret, "key": "url"}},
        },
        *_oauth(platform),
        *({"name": name, "value": values[name]} for name in sorted(values)),
    ]


def _oauth(platform: Platform) -> list[Object]:
    """The secrets of OAuth clients; one that its Secret does not have is not set."""
    if platform.oauth_secret is None:
        return []
    return [
        {
            "name": f"MAILHEARTH_{owner.upper()}_CLIENT_SECRET",
            "valueFrom": {
                "secretKeyRef": {
                    "name": platform.oauth_secret,
                    "key": f"{owner}-client-secret",
                    "optional": True,
                }
            },
        }
        for owner in ("google", "microsoft")
    ]


def _keys(pool: Pool) -> list[Object]:
    """`/keys/<workspace>/<version>`, from one Secret for each version."""
    return [
        {"secret": {"name": name, "items": [{"key": "private", "path": f"{workspace}/{version}"}]}}
        for (workspace, version), name in sorted(pool.key_secrets.items())
        if workspace in pool.workspaces
    ]


def _logins(pool: Pool) -> list[Object]:
    """`/logins/<workspace>`, the password of its database login."""
    return [
        {"secret": {"name": name, "items": [{"key": "password", "path": str(workspace)}]}}
        for workspace, name in sorted(pool.login_secrets.items())
        if workspace in pool.workspaces
    ]


def _probe(path: str, *, period: int, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": "probes"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _disruption_budget(pool: Pool) -> Object:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": pool.selector()}}
    return _object("policy/v1", "PodDisruptionBudget", pool, spec)


def _network_policy(platform: Platform, pool: Pool) -> Object:
    """In: metrics and probes. Out: DNS, Postgres, Redis, and the ports of mail and of OAuth."""
    return _object(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        pool,
        {
            "podSelector": {"matchLabels": pool.selector()},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": _ports("TCP", METRICS_PORT, PROBES_PORT)}],
            "egress": [
                {
                    "to": [
                        {
                            "namespaceSelector": {
                                "matchLabels": {
                                    "kubernetes.io/metadata.name": platform.dns_namespace
                                }
                            }
                        }
                    ],
                    "ports": [
                        *_ports("UDP", *platform.dns_ports),
                        *_ports("TCP", *platform.dns_ports),
                    ],
                },
                {"ports": _ports("TCP", platform.database_port, platform.redis_port)},
                {"ports": _ports("TCP", *platform.mail_ports)},
            ],
        },
    )


def _ports(protocol: str, *numbers: int) -> list[Object]:
    return [{"protocol": protocol, "port": number} for number in numbers]


def _object(api: str, kind: str, pool: Pool, spec: Object) -> Object:
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {
            "name": pool.name,
            "namespace": pool.namespace,
            "labels": pool.labels(),
            "ownerReferences": [pool.owner.reference()],
        },
        "spec": spec,
    }
