"""A small client of the Kubernetes API over the official one: objects in, objects out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from prometheus_client import Counter

from mailhearth_core.errors import Conflict, MailhearthError, NotFound, NotYet, ServiceUnavailable
from mailhearth_operator.cluster.kinds import Kind, Object
from mailhearth_operator.manifests.model import MANAGER

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
TIMEOUT = (5.0, 20.0)
"""To connect, and between two bytes of an answer; seconds."""
PAGE = 100
"""Objects in one answer; a page of 500 Deployments is 40 MB while it is read."""


class Forbidden(MailhearthError):
    """The operator's account lacks a right; the message names verb and kind."""

    code = "forbidden"
    permanent = False  # a Role may be given at any time


class Refused(MailhearthError):
    """The API server refuses the object as it is (a schema, an admission policy, a quota)."""

    code = "refused"


class Api:
    """Requests to the API server; safe for several threads.

    Every method raises:
        ServiceUnavailable: it does not answer, or not now.
        Forbidden, Refused: see there.
    """

    def __init__(self, configuration: client.Configuration, calls: Counter | None = None) -> None:
        self._client = client.ApiClient(configuration)
        self._calls = calls

    @classmethod
    def connect(cls, calls: Counter | None = None) -> Api:
        """As the pod's service account, or else as the kubeconfig says."""
        return cls(load_configuration(), calls)

    @property
    def configuration(self) -> client.Configuration:
        """How the server is reached, and as whom."""
        configuration: client.Configuration = self._client.configuration
        return configuration

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        try:
            return self._request("get", "GET", kind, kind.path(namespace, name))
        except NotFound:
            return None

    def list_all(self, kind: Kind, namespace: str | None, *, labels: str = "") -> list[Object]:
        """All of a namespace, or of the cluster (None), page by page."""
        found: list[Object] = []
        query = {"limit": str(PAGE)} | ({"labelSelector": labels} if labels else {})
        while True:
            page = self._request("list", "GET", kind, kind.path(namespace), query=query)
            for item in page["items"] or ():
                found.append({"apiVersion": kind.api, "kind": kind.name} | item)
            more = page["metadata"].get("continue")
            if not more:
                return found
            query = query | {"continue": more}

    def list_metadata(self, kind: Kind, namespace: str | None) -> list[Object]:
        """The metadata of all, from the server's own cache: cheap, and at most seconds old."""
        page = self._request(
            "list",
            "GET",
            kind,
            kind.path(namespace),
            query={"resourceVersion": "0"},
            accept="application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        )
        return [item["metadata"] for item in page["items"] or ()]

    def create(self, kind: Kind, body: Object) -> Object:
        """Raises Conflict when an object of that name exists."""
        namespace = body["metadata"]["namespace"]
        return self._request("create", "POST", kind, kind.path(namespace), body)

    def apply(self, kind: Kind, body: Object, *, manager: str = MANAGER) -> Object:
        """Server-side apply; fields that others wrote and we name become ours."""
        meta = body["metadata"]
        path = kind.path(meta["namespace"], meta["name"])
        query = {"fieldManager": manager, "force": "true"}
        return self._request("patch", "PATCH", kind, path, body, APPLY, query)

    def merge(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Object,
        *,
        manager: str = MANAGER,
        subresource: str = "",
    ) -> Object:
        """Merge patch: what `body` does not name stays, lists are replaced as a whole.

        Raises Conflict when `body` names a resourceVersion that is past.
        """
        path = kind.path(namespace, name) + (f"/{subresource}" if subresource else "")
        return self._request("patch", "PATCH", kind, path, body, MERGE, {"fieldManager": manager})

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        """One that is gone already is no error.

        Args:
            uid: only this very object; raises Conflict when another has its name.
        """
        body = {"propagationPolicy": "Background"} | (
            {"preconditions": {"uid": uid}} if uid else {}
        )
        try:
            self._request("delete", "DELETE", kind, kind.path(namespace, name), body)
        except NotFound:
            return

    def _request(
        self,
        verb: str,
        method: str,
        kind: Kind,
        path: str,
        body: Object | None = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
    ) -> Object:
        headers: dict[str, str] = {"Accept": accept, "Content-Type": content_type}
        queries: list[tuple[str, str]] = list((query or {}).items())
        self._client.update_params_for_auth(headers, queries, ["BearerToken"], path, method, body)
        url = self._client.configuration.host + path
        if queries:
            url += "?" + urlencode(queries)
        if self._calls is not None:
            self._calls.labels(verb=verb, kind=kind.name).inc()
        # The client leaves a text of this content type alone; an object it would send as YAML.
        sent = json.dumps(body) if content_type == APPLY else body
        try:
            response = self._client.rest_client.request(
                method, url, headers=headers, body=sent, _request_timeout=TIMEOUT
            )
            response.read()
        except ApiException as error:
            raise _told(error, verb, kind, path) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ServiceUnavailable(
                f"The Kubernetes API does not answer: {type(error).__name__}.",
                hint="Work goes on by itself when it does.",
                code="api_unavailable",
            ) from error
        if not 200 <= response.status <= 299:
            raise _told(ApiException(http_resp=response), verb, kind, path)
        answer: Object = json.loads(response.data)
        return answer


def load_configuration() -> client.Configuration:
    """Of the pod's service account, else of the kubeconfig; raises MailhearthError for neither."""
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        try:
            config.load_kube_config(
                config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration
            )
        except (config.ConfigException, OSError) as error:
            raise MailhearthError(
                f"There is no way to a cluster: {error}.",
                hint="Run the operator in a pod with a service account, or set KUBECONFIG.",
                code="no_cluster",
            ) from None
    return configuration


def _told(error: ApiException, verb: str, kind: Kind, path: str) -> MailhearthError:
    """The API server's answer as one of our errors."""
    try:
        status = json.loads(error.body or "{}")
    except ValueError:
        status = {}
    message = str(status.get("message") or error.reason or "no reason given")
    code = int(error.status or 0)
    if code == 404:
        return NotFound(message)
    if code == 409:
        return Conflict(message)
    if code == 403:
        return Forbidden(
            f"The operator may not {verb} {kind.plural}: {message}.",
            hint=f"Give its service account the verb {verb!r} on {kind.plural}.",
        )
    if code == 401:
        return ServiceUnavailable("The API server does not take the operator's token.")
    if code in (400, 405, 406, 410, 413, 415, 422):
        return Refused(f"{kind.name} {path.rpartition('/')[2]}: {message}")
    if code == 429 or code >= 500 or code == 0:
        return ServiceUnavailable(
            f"The Kubernetes API answers {code}: {message}", code="api_unavailable"
        )
    return NotYet(f"The Kubernetes API answers {code}: {message}")
