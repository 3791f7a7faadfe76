"""A real etcd and kube-apiserver on loopback for tests, and a small client of them.

No scheduler, controller or node: objects are stored, checked and watched, and nothing acts on them.
KUBEBUILDER_ASSETS names the folder of the two programs, as `envtest` has it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dovecot import free_port
from waiting import wait_for

ASSETS = "KUBEBUILDER_ASSETS"
HOST = "127.0.0.1"
START_SECONDS = 60.0
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

Json = dict[str, Any]


def require_control_plane() -> Path:
    """The folder of etcd and kube-apiserver; skips the calling test where there is none."""
    folder = os.environ.get(ASSETS, "")
    names = ("etcd", "kube-apiserver")
    if not folder or not all(os.access(Path(folder) / name, os.X_OK) for name in names):
        pytest.skip(
            f"{ASSETS} names no folder with etcd and kube-apiserver: "
            'export KUBEBUILDER_ASSETS="$(setup-envtest use -p path)"'
        )
    return Path(folder)


@dataclass(frozen=True)
class Answer:
    """What the API server said: an object, or a `Status` that tells what is wrong."""

    code: int
    body: Json

    @property
    def ok(self) -> bool:
        return 200 <= self.code < 300

    @property
    def message(self) -> str:
        """The sentence of a refusal."""
        return str(self.body.get("message", ""))


class ApiServer:
    """One etcd with one kube-apiserver; a context manager, or `start()` and `stop()`.

    Args:
        assets: the folder of the programs, from `require_control_plane`.
        folder: where data, certificates and logs go; must be empty.

    The client holds a token of the group system:masters. `kubeconfig` is for other clients.
    """

    def __init__(self, assets: Path, folder: Path) -> None:
        self._assets = assets
        self._folder = folder
        self._etcd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self.token = secrets.token_urlsafe(24)
        self.port = self._etcd_port = 0
        self.kubeconfig = folder / "kubeconfig"
        self.ca_file = folder / "ca.crt"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    def start(self) -> None:
        """Returns when the API server is ready to take requests."""
        self._write_certificates()
        self.port, self._etcd_port, peer_port = free_port(), free_port(), free_port()
        self._write_kubeconfig()
        peers = f"http://{HOST}:{peer_port}"
        self._etcd = self._run(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls=http://{HOST}:{self._etcd_port}",
            f"--advertise-client-urls=http://{HOST}:{self._etcd_port}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        )
        self.start_server()

    def start_server(self) -> None:
        """Starts the API server over the etcd that runs: the first time, or after `stop_server`."""
        self._server = self._run(
            "kube-apiserver",
            f"--etcd-servers=http://{HOST}:{self._etcd_port}",
            f"--bind-address={HOST}",
            f"--advertise-address={HOST}",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self._folder / 'server.crt'}",
            f"--tls-private-key-file={self._folder / 'server.key'}",
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            f"--service-account-key-file={self._folder / 'accounts.key'}",
            f"--service-account-signing-key-file={self._folder / 'accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
            "--authorization-mode=RBAC",
            f"--audit-policy-file={self._folder / 'audit-policy.json'}",
            f"--audit-log-path={self._folder / 'audit.log'}",
            # Nobody makes the accounts that pods would wait for.
            "--disable-admission-plugins=ServiceAccount",
        )
        wait_for(self._is_ready, START_SECONDS)

    def stop_server(self) -> None:
        """Stops the API server alone; what it stored stays."""
        _end(self._server)
        self._server = None

    def stop(self) -> None:
        self.stop_server()
        _end(self._etcd)
        self._etcd = None

    # -- requests -----------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        body: Json | str | None = None,
        content_type: str = "",
        accept: str = "application/json",
    ) -> Answer:
        """One request, in a connection of its own; text is sent as YAML, else JSON."""
        if not content_type:
            content_type = "application/yaml" if isinstance(body, str) else "application/json"
        sent = body if isinstance(body, str) or body is None else json.dumps(body)
        context = ssl.create_default_context(cafile=str(self.ca_file))
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept}
        if sent is not None:
            headers["Content-Type"] = content_type
        with contextlib.closing(
            http.client.HTTPSConnection(HOST, self.port, timeout=30, context=context)
        ) as connection:
            connection.request(method, path, sent and sent.encode(), headers)
            response = connection.getresponse()
            return Answer(response.status, _object(response.read()))

    def must(
        self, method: str, path: str, body: Json | str | None = None, content_type: str = ""
    ) -> Json:
        """A request that has to succeed; the object it answers with."""
        answer = self.request(method, path, body, content_type)
        assert answer.ok, f"{method} {path}: {answer.code} {answer.message or answer.body}"
        return answer.body

    def install_definition(self, text: str, name: str) -> Json:
        """Applies a CustomResourceDefinition (YAML); returns it once it is served."""
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        made = self.must("PATCH", f"{path}?fieldManager=tests&fieldValidation=Strict", text, APPLY)
        spec = made["spec"]
        served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        wait_for(lambda: self.request("GET", served).ok)
        return self.must("GET", path)

    def make_namespace(self) -> str:
        """A new namespace; returns its name."""
        name = f"t-{secrets.token_hex(5)}"
        self.must("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def make_account(self, namespace: str, name: str) -> Path:
        """A new service account without any right; returns a kubeconfig of it."""
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self.must("POST", accounts, {"metadata": {"name": name}})
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token = self.must("POST", f"{accounts}/{name}/token", asked)["status"]["token"]
        path = self._folder / f"kubeconfig-{namespace}-{name}"
        path.write_text(json.dumps(self._kubeconfig_of(token)))
        return path

    def audited(self, namespace: str, name: str) -> list[Json]:
        """What a service account has asked for so far, as audit events."""
        user = f"system:serviceaccount:{namespace}:{name}"
        lines = (self._folder / "audit.log").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["user"]["username"] == user]

    # -- inside -------------------------------------------------------------------------------

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [str(self._assets / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            )

    def _is_ready(self) -> bool:
        for name, process in (("etcd", self._etcd), ("kube-apiserver", self._server)):
            if process is not None and process.poll() is not None:
                last = (self._folder / f"{name}.log").read_text(errors="replace")[-2000:]
                raise AssertionError(f"{name} ended by itself ({process.returncode}):\n{last}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.request("GET", "/readyz").ok and self._has_default_namespace()
        return False

    def _has_default_namespace(self) -> bool:
        """The server makes it shortly after it is ready."""
        return self.request("GET", "/api/v1/namespaces/default").ok

    def _write_certificates(self) -> None:
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        ca = (
            _certificate(ca_name, ca_name, ca_key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False)
            .sign(ca_key, hashes.SHA256())
        )
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
        names = [x509.IPAddress(ip_address(HOST)), x509.DNSName("localhost")]
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        server = (
            _certificate(name, ca_name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
            .add_extension(issuer, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        self.ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        (self._folder / "server.crt").write_bytes(server.public_bytes(serialization.Encoding.PEM))
        (self._folder / "server.key").write_bytes(_pem(key))
        (self._folder / "accounts.key").write_bytes(_pem(ec.generate_private_key(ec.SECP256R1())))
        tokens = f'{self.token},tests,tests,"system:masters"\n'
        (self._folder / "tokens.csv").write_text(tokens)
        # Of service accounts only, and what they did: least privilege is proved by it.
        rules = [
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ]
        policy = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": rules,
        }
        (self._folder / "audit-policy.json").write_text(json.dumps(policy))

    def _write_kubeconfig(self) -> None:
        self.kubeconfig.write_text(json.dumps(self._kubeconfig_of(self.token)))

    def _kubeconfig_of(self, token: str) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "users": [{"name": "tests", "user": {"token": token}}],
            "clusters": [
                {
                    "name": "tests",
                    "cluster": {"server": self.url, "certificate-authority": str(self.ca_file)},
                }
            ],
        }


def _object(data: bytes) -> Json:
    try:
        found = json.loads(data)
    except ValueError:
        return {"message": data.decode(errors="replace")}
    return found if isinstance(found, dict) else {"message": str(found)}


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is None:
        return
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
