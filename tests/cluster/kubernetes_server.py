"""A small API server of Kubernetes, over HTTP: it keeps objects, refuses what their schemas refuse, and can fail.

There is no operator behind it: a test says itself what becomes of a job.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema

from tests.infra.validation import validate

TOKEN = "test-bearer-of-kubernetes"
Object = dict[str, Any]

KNOWN = {
    ("apis/ray.io/v1", "rayjobs"),
    ("apis/batch/v1", "jobs"),
    ("apis/kueue.x-k8s.io/v1beta2", "workloads"),
    ("api/v1", "configmaps"),
    ("api/v1", "pods"),
}


class KubernetesServer:
    """What the server holds. `failures` are for the next requests, in order: a status, `reset`, or `lost`.

    A request that is `lost` is done, and its answer never comes. `requests` are the method and path of each so far.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.failures: deque[int | str] = deque()
        self.requests: list[str] = []
        self.logs: dict[str, list[str]] = {}
        self.followed = threading.Event()
        self.known = set(KNOWN)
        self.lock = threading.RLock()
        self.url = ""
        self._made = 0

    def all(self, plural: str) -> list[Object]:
        """Every object of a kind, in the order of creation."""
        return [found for (kind, _, _), found in self.objects.items() if kind == plural]

    def only(self, plural: str) -> Object:
        """The one object of a kind."""
        (found,) = self.all(plural)
        return found

    def put(self, plural: str, name: str, *, namespace: str = "default", **fields: Any) -> Object:
        """An object that is simply there, as if its controller had made it."""
        metadata = {"name": name, "labels": fields.pop("labels", {}), **fields.pop("metadata", {})}
        return self.store(plural, namespace, {"metadata": metadata, **fields})

    def store(self, plural: str, namespace: str, body: Object) -> Object:
        with self.lock:
            self._made += 1
            moment = datetime(2026, 11, 21, tzinfo=UTC) + timedelta(seconds=self._made)
            given = {"uid": str(uuid.uuid4()), "creationTimestamp": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
            body = body | {"metadata": given | {"namespace": namespace} | body["metadata"]}
            self.objects[plural, namespace, body["metadata"]["name"]] = body
            return body

    def forget(self, plural: str) -> Callable[[], None]:
        """What removes the one object of a kind, when it is called."""

        def remove() -> None:
            (key,) = (key for key in self.objects if key[0] == plural)
            del self.objects[key]

        return remove

    def make_follow(self, pod: str, lines: list[str]) -> None:
        """The log of a pod that goes on until `followed` is set; the connection ends at a line `cut`."""
        self.put("pods", pod, labels={"job-name": pod.rpartition("-")[0]}, status={"phase": "Running"})
        self.logs[pod] = lines


def refusal(code: int, reason: str, message: str, **details: Any) -> tuple[int, Object]:
    """What Kubernetes answers when it will not."""
    about = {"details": details} if details else {}
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return code, body | about


def merged(into: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict):
        return change
    kept = dict(into) if isinstance(into, dict) else {}
    for key, value in change.items():
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = merged(kept.get(key), value)
    return kept


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    kubernetes: KubernetesServer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test says what it saw."""

    def do_GET(self) -> None:
        self.answer()

    do_POST = do_PATCH = do_DELETE = do_GET

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.kubernetes.requests.append(f"{self.command} {self.path}")
        failure = self.kubernetes.failures.popleft() if self.kubernetes.failures else None
        if failure == "reset":
            return self.reset()
        if isinstance(failure, int):
            return self.send(*refusal(failure, "Unhappy", "try again later"))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.send(*refusal(401, "Unauthorized", "Unauthorized"))
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        at = parts.index("namespaces")
        api, namespace, plural, *name = "/".join(parts[:at]), *parts[at + 1 :]
        if (api, plural) not in self.kubernetes.known:
            return self.send_text(404, "404 page not found")
        if name[1:] == ["log"]:
            return self.send_log(unquote(name[0]), follow="follow" in url.query)
        with self.kubernetes.lock:
            code, answer = self.handle_object(plural, namespace, unquote(name[0]) if name else "", url.query, body)
        return self.reset() if failure == "lost" else self.send(code, answer)

    def handle_object(self, plural: str, namespace: str, name: str, query: str, body: bytes) -> tuple[int, Object]:
        objects = self.kubernetes.objects
        if self.command == "POST":
            return self.create(plural, namespace, json.loads(body))
        if not name:
            wanted = dict(pair.split("=", 1) for pair in parse_qs(query)["labelSelector"][0].split(","))
            items = [
                found
                for (kind, where, _), found in objects.items()
                if (kind, where) == (plural, namespace) and wanted.items() <= found["metadata"]["labels"].items()
            ]
            return 200, {"items": items}
        if (plural, namespace, name) not in objects:
            return refusal(404, "NotFound", f'{plural} "{name}" not found', name=name)
        if self.command == "PATCH":
            assert self.headers["Content-Type"] == "application/merge-patch+json"
            changed = merged(objects[plural, namespace, name], json.loads(body))
            objects[plural, namespace, name] = changed
        if self.command == "DELETE":
            return 200, objects.pop((plural, namespace, name))
        return 200, objects[plural, namespace, name]

    def create(self, plural: str, namespace: str, body: Object) -> tuple[int, Object]:
        name = body["metadata"]["name"]
        try:
            validate(body)
        except jsonschema.ValidationError as error:
            return refusal(422, "Invalid", f"{body['kind']} {name!r} is invalid: {error.message}", name=name)
        if body["metadata"]["namespace"] != namespace:
            return refusal(400, "BadRequest", "the namespace of the object is another")
        if (plural, namespace, name) in self.kubernetes.objects:
            return refusal(409, "AlreadyExists", f'{plural} "{name}" already exists', name=name)
        return 201, self.kubernetes.store(plural, namespace, body)

    def send_log(self, pod: str, *, follow: bool) -> None:
        if pod not in self.kubernetes.logs:
            return self.send(*refusal(400, "BadRequest", "container is waiting to start: ContainerCreating"))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in list(self.kubernetes.logs[pod]):
            if line == "cut":
                self.close_connection = True
                return
            data = line.encode() + b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        if follow:
            self.kubernetes.followed.wait(20)
        self.wfile.write(b"0\r\n\r\n")

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def send(self, code: int, answer: Object) -> None:
        self.send_text(code, json.dumps(answer), "application/json")

    def send_text(self, code: int, text: str, content: str = "text/plain") -> None:
        data = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", content)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was reset on purpose."""


@contextmanager
def kubernetes_server() -> Iterator[KubernetesServer]:
    """A server on loopback for as long as the block lasts."""
    held = KubernetesServer()
    handler = type("BoundHandler", (Handler,), {"kubernetes": held})
    with _Server(("127.0.0.1", 0), handler) as server:
        held.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield held
        finally:
            held.followed.set()
            server.shutdown()
            thread.join()
