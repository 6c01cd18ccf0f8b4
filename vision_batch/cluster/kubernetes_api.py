"""The API of a Kubernetes cluster, as far as jobs need it: plain values in and out, and its troubles as our errors."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vision_batch.errors import ClusterError, Problem, SpecError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from kubernetes.client.rest import RESTResponse

Object = dict[str, Any]

CONNECT_S = 10
READ_S = 60
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Between attempts, while the API does not answer or says that it cannot now."""
PASSING = (429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Objects of one kind, of a namespace: where the API has them."""

    api: str
    plural: str


RAY_JOBS = Kind(api="apis/ray.io/v1", plural="rayjobs")
CONFIG_MAPS = Kind(api="api/v1", plural="configmaps")
PODS = Kind(api="api/v1", plural="pods")
BATCH_JOBS = Kind(api="apis/batch/v1", plural="jobs")
WORKLOADS = Kind(api="apis/kueue.x-k8s.io/v1beta2", plural="workloads")


def connect(namespace: str, context: str | None = None) -> KubernetesApi:
    """The API that the kubeconfig names, its current context by default, or a pod's own account; nobody is asked yet.

    SpecError where the client is not installed, or there is neither.
    """
    try:
        from kubernetes import config
        from kubernetes.client import ApiClient, Configuration
    except ImportError as error:
        found, expected = "no kubernetes client", "it: pip install 'vision-batch[kubernetes]'"
        raise SpecError(Problem("this environment", found, expected)) from error
    configuration = Configuration()
    try:
        config.load_kube_config(
            os.environ.get("KUBECONFIG") or None, context=context, client_configuration=configuration
        )
    except config.ConfigException as error:
        try:
            if context is not None:
                raise
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            found, expected = str(error), "a kubeconfig with the profile's context: what kubectl uses"
            raise SpecError(Problem("kubeconfig", found, expected)) from error
    return KubernetesApi(ApiClient(configuration), namespace)


class KubernetesApi:
    """One namespace. What passes (no answer, 5xx, 429) is tried again; every other refusal is a ClusterError.

    Each request may reach the server more than once: what creates has a name, and what changes says what shall be.
    """

    def __init__(self, client: ApiClient, namespace: str, *, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self._client = client
        self._pauses_s = pauses_s
        self.namespace = namespace

    def create(self, kind: Kind, body: Object) -> bool:
        """Whether there was none of its name yet."""
        return self._ask("POST", kind, body=body, accepted=409) is not None

    def find(self, kind: Kind, name: str) -> Object | None:
        return self._ask("GET", kind, name, accepted=404)

    def select(self, kind: Kind, labels: Mapping[str, str]) -> list[Object]:
        """Those that have all `labels`."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        found = self._ask("GET", kind, query=[("labelSelector", selector)])
        return list(found["items"]) if found else []

    def patch(self, kind: Kind, name: str, change: Object) -> None:
        """Merges `change` into the object (RFC 7386)."""
        self._ask("PATCH", kind, name, body=change)

    def delete(self, kind: Kind, name: str) -> None:
        """And what it owns. One that is not there stays so."""
        self._ask("DELETE", kind, name, query=[("propagationPolicy", "Background")], accepted=404)

    def log(self, pod: str, *, follow: bool) -> Iterator[str]:
        """The lines of a pod's log, from its beginning; with `follow` until its container ends or nothing comes.

        Nothing where the container has not begun. ClusterError when the connection breaks.
        """
        from urllib3.exceptions import HTTPError

        query = [("follow", "true")] if follow else []
        response = self._send("GET", PODS, f"{pod}/log", query=query)
        try:
            if response.status in (400, 404):  # it waits to start, or was removed
                return
            if response.status != 200:
                raise self._refusal(response, PODS)
            for line in response.response:
                yield line.decode(errors="replace").rstrip("\r\n")
        except HTTPError as error:
            raise self._lost(error) from error
        finally:
            response.response.close()

    def _ask(
        self,
        method: str,
        kind: Kind,
        name: str = "",
        *,
        query: list[tuple[str, str]] | None = None,
        body: Object | None = None,
        accepted: int | None = None,
    ) -> Object | None:
        """The answer; None where its status is `accepted`."""
        response = self._send(method, kind, name, query=query, body=body)
        text = response.read()
        if response.status == accepted and _is_about_an_object(text):
            return None
        if not 200 <= response.status < 300:
            raise self._refusal(response, kind)
        answer: Object = json.loads(text)
        return answer

    def _send(
        self,
        method: str,
        kind: Kind,
        name: str = "",
        *,
        query: list[tuple[str, str]] | None = None,
        body: Object | None = None,
    ) -> RESTResponse:
        from urllib3.exceptions import HTTPError

        path = f"/{kind.api}/namespaces/{self.namespace}/{kind.plural}" + (f"/{quote(name)}" if name else "")
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Accept": "*/*", "Content-Type": content}
        for pause_s in (*self._pauses_s, None):
            request = self._client.param_serialize(
                method, path, query_params=query or [], header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            try:
                response = self._client.call_api(*request, _request_timeout=(CONNECT_S, READ_S))
            except HTTPError as error:
                if pause_s is None:
                    raise self._lost(error) from error
            else:
                if response.status not in PASSING or pause_s is None:
                    return response
                response.response.close()
            time.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    def _refusal(self, response: RESTResponse, kind: Kind) -> ClusterError:
        host, said = self._client.configuration.host, _message(response)
        match response.status:
            case 401:
                hint = "log in anew: `kubectl get rayjobs` shows whether the credentials of the kubeconfig hold"
            case 403:
                hint = (
                    f"ask for the right: `kubectl auth can-i --list --namespace {self.namespace}` shows those at hand"
                )
            case 404:
                hint = f"is there a namespace {self.namespace}, and the operator that brings {kind.plural}?"
            case _:
                hint = "`kubectl get events` may say more"
        return ClusterError(f"{host}: {response.status}: {said}; {hint}")

    def _lost(self, error: Exception) -> ClusterError:
        said = " ".join(str(error).split())[:300]
        return ClusterError(f"{self._client.configuration.host}: no answer: {said}; is the cluster reachable?")


def _is_about_an_object(text: bytes) -> bool:
    """Whether a refusal is about the object itself, and not about a kind that the server does not know."""
    try:
        status = json.loads(text)
    except ValueError:
        return False
    return isinstance(status, dict) and status.get("reason") in ("NotFound", "AlreadyExists") and "details" in status


def _message(response: RESTResponse) -> str:
    """What the server says, in a line."""
    text = response.read()
    try:
        said = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        said = text.decode(errors="replace")
    return " ".join(said.split())[:500]
