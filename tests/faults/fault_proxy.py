"""A loopback TCP proxy in front of an S3 endpoint that injects faults.

Bytes pass through untouched (signatures still verify) unless a rule matches.

    with FaultProxy(("127.0.0.1", 9105), seed=0) as proxy:
        proxy.rules = [Rule(match="^GET", kind="cut", p=0.05)]
        ...  # endpoint_url=proxy.endpoint; proxy.log lists the hits
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import struct
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Literal, Self

BUFFER_BYTES = 256 * 1024
LINGER_NOT = struct.pack("ii", 1, 0)  # closing such a socket sends a reset

Kind = Literal["none", "status", "reset", "cut", "stall", "pause", "delay", "silence", "lost", "corrupt", "mangle"]


@dataclass(kw_only=True)
class Rule:
    """What happens to requests: "METHOD /path" in which `match` is found are hit with probability `p`, `n` times.

    With `header` only those that have such a line ("name: value", the name in lower case) in their head.

    The first `after` requests that match pass untouched. Fractions (`at`) are of the body.

    status   answered with an S3 error instead: `status`, `code`, `retry_after` (seconds)
    reset    the connection is reset before the request reaches the server
    cut      the connection is reset in mid-body, after the fraction `at` of the answer
    stall    the answer comes `s` seconds late
    pause    the answer's body stops for `s` seconds after the fraction `at`
    delay    the request is passed on `s` seconds late
    silence  nothing is answered as long as the rule stands; then the connection is reset
    lost     the request is served, and its answer is lost: the connection is reset
    corrupt  one bit of the answer's body is flipped, after the fraction `at`
    mangle   one bit of the request's body is flipped, after the fraction `at`
    """

    kind: Kind
    match: str = ""
    header: str = ""
    p: float = 1
    n: int | None = None
    after: int = 0
    status: int = 503
    code: str = "SlowDown"
    retry_after: int | None = None
    at: float = 0.5
    s: float = 0


class FaultProxy:
    """Listens on `port` (0: any free one) of `host` between `start` and `stop`, in a thread of its own."""

    def __init__(self, upstream: tuple[str, int], port: int = 0, seed: int = 0, host: str = "127.0.0.1") -> None:
        self.upstream, self.port, self.host = upstream, port, host
        self.rules: list[Rule] = []
        self.log: list[tuple[Kind, str]] = []
        self.requests: list[str] = []
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    def hits(self) -> Counter[Kind]:
        """How often each kind of fault was injected."""
        return Counter(kind for kind, _ in self.log)

    def start(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the proxy did not start")
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        connections: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._connection(reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await asyncio.start_server(accept, self.host, self.port, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def _pick(self, request_line: str, headers: dict[str, str]) -> Rule:
        self.requests.append(request_line)
        for rule in self.rules:
            if rule.n != 0 and _is_meant(rule, request_line, headers) and self._random.random() < rule.p:
                if rule.after:
                    rule.after -= 1
                    continue
                if rule.n is not None:
                    rule.n -= 1
                self.log.append((rule.kind, request_line))
                return rule
        return Rule(kind="none")

    async def _connection(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        upstream = _Upstream(self.upstream)
        try:
            while await self._exchange(client_in, client_out, upstream):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            upstream.close()
            client_out.close()

    async def _exchange(
        self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter, upstream: _Upstream
    ) -> bool:
        """One request and its answer; False when the connection is not to be used again."""
        raw, line, headers = await _read_head(client_in)
        rule, length = self._pick(line, headers), int(headers.get("content-length", 0))
        expects = headers.get("expect", "").lower() == "100-continue"
        if rule.kind == "silence":
            while rule in self.rules:
                await asyncio.sleep(0.02)
        if rule.kind in ("reset", "silence"):
            _abort(client_out)
            return False
        if rule.kind == "status":
            if not expects:
                await _copy(client_in, None, length)
            client_out.write(_error_answer(rule, line, close=expects))
            await client_out.drain()
            return not expects
        if rule.kind == "delay":
            await asyncio.sleep(rule.s)
        up_in, up_out = await upstream.streams()
        up_out.write(raw)
        if expects:
            answer, status, answer_headers = await _read_head(up_in)
            client_out.write(answer)
            if " 100 " not in status:
                await _copy(up_in, client_out, int(answer_headers.get("content-length", 0)))
                return False
        if "chunked" in headers.get("transfer-encoding", ""):
            await _copy_chunked(client_in, up_out)
        else:
            await _copy(client_in, up_out, length, flip_at=int(length * rule.at) if rule.kind == "mangle" else None)
        return await self._answer(rule, line, up_in, client_out)

    async def _answer(
        self, rule: Rule, line: str, up_in: asyncio.StreamReader, client_out: asyncio.StreamWriter
    ) -> bool:
        """Passes one response on; False when the connection is not to be used again."""
        raw, status, headers = await _read_head(up_in)
        while " 100 " in status:
            raw, status, headers = await _read_head(up_in)
        if rule.kind == "lost":
            _abort(client_out)
            return False
        if rule.kind == "stall":
            await asyncio.sleep(rule.s)
        client_out.write(raw)
        if line.startswith("HEAD") or status.split()[1] in ("204", "304"):
            pass
        elif "content-length" in headers:
            length = int(headers["content-length"])
            begin = int(length * rule.at)
            if rule.kind == "cut":
                await _copy(up_in, client_out, begin)
                await asyncio.sleep(0.02)
                _abort(client_out)
                return False
            if rule.kind == "pause":
                await _copy(up_in, client_out, begin)
                await asyncio.sleep(rule.s)
                length -= begin
            await _copy(up_in, client_out, length, flip_at=begin if rule.kind == "corrupt" else None)
        elif "chunked" in headers.get("transfer-encoding", ""):
            await _copy_chunked(up_in, client_out)
        else:
            await _copy(up_in, client_out, None)
            return False
        await client_out.drain()
        return headers.get("connection", "").lower() != "close"


def _is_meant(rule: Rule, request_line: str, headers: dict[str, str]) -> bool:
    lines = (f"{name}: {value}" for name, value in headers.items())
    return bool(re.search(rule.match, request_line)) and any(re.search(rule.header, line) for line in lines)


class _Upstream:
    """The connection to the server, opened when first needed."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=1 << 20)
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


def _error_answer(rule: Rule, line: str, *, close: bool) -> bytes:
    body = f"<Error><Code>{rule.code}</Code><Message>injected</Message></Error>"
    if line.startswith("HEAD"):
        body = ""
    head = [
        f"HTTP/1.1 {rule.status} Injected",
        "Content-Type: application/xml",
        f"Content-Length: {len(body)}",
        f"Connection: {'close' if close else 'keep-alive'}",
    ]
    if rule.retry_after is not None:
        head.append(f"Retry-After: {rule.retry_after}")
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def _abort(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()


async def _read_head(reader: asyncio.StreamReader) -> tuple[bytes, str, dict[str, str]]:
    raw = await reader.readuntil(b"\r\n\r\n")
    line, *rest = raw.decode("latin1").split("\r\n")
    pairs = (header.split(":", 1) for header in rest if ":" in header)
    return raw, line, {key.lower(): value.strip() for key, value in pairs}


async def _copy(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter | None,
    length: int | None,
    *,
    flip_at: int | None = None,
) -> None:
    """Passes `length` bytes on, or all until the end, one bit of byte `flip_at` flipped.

    Without a writer they are thrown away.
    """
    sent = 0
    while length is None or sent < length:
        data = await reader.read(BUFFER_BYTES if length is None else min(BUFFER_BYTES, length - sent))
        if not data:
            return
        if flip_at is not None and sent <= flip_at < sent + len(data):
            place = flip_at - sent
            data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        if writer is not None:
            writer.write(data)
            await writer.drain()
        sent += len(data)
    if writer is not None:
        await writer.drain()


async def _copy_chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    size = 1
    while size:
        size_line = await reader.readuntil(b"\r\n")
        writer.write(size_line)
        size = int(size_line.split(b";")[0], 16)
        await _copy(reader, writer, size + 2)


if __name__ == "__main__":  # fault_proxy.py UPSTREAM_HOST UPSTREAM_PORT LISTEN_PORT RULES_JSON
    proxy = FaultProxy((sys.argv[1], int(sys.argv[2])), int(sys.argv[3]))
    proxy.rules = [Rule(**rule) for rule in json.loads(sys.argv[4])]
    proxy.start()
    threading.Event().wait()
