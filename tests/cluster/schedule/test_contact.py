"""Webhooks and commands are called as the configuration says, and every way to fail is told in words."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vision_batch.cluster.schedule.contact import ContactSettings, tell

BODY = json.dumps({"schedule": "nightly", "exit_code": 2}).encode()


@dataclass
class Receiver:
    """What a webhook was sent, and what it answers."""

    url: str = ""
    status: int = 200
    answer: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append((dict(self.headers), body))
            while receiver.silent:
                time.sleep(0.02)
            self.send_response(receiver.status)
            for name, value in receiver.answer.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hooks/s3cret-path"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.silent = False
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as it:
        yield it


def program(folder: Path, text: str) -> str:
    """A program that does what a line of Python says; the path is absolute."""
    path = folder / "tell me"
    path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{text}\n")
    path.chmod(0o700)
    return str(path)


def test_a_webhook_is_sent_the_record_with_a_token_and_an_id(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    contact = ContactSettings(webhook=receiver.url, token_file=str(tmp_path / "token"))
    assert tell(contact, BODY, notice_id="nightly 1") is None
    ((headers, body),) = receiver.got
    assert body == BODY
    assert (headers["Content-Type"], headers["Authorization"]) == ("application/json", "Bearer abc")
    assert headers["Idempotency-Key"] == "nightly 1"


@pytest.mark.parametrize(("status", "arrived"), [(201, True), (204, True), (400, False), (410, False), (503, False)])
def test_only_a_success_has_arrived(receiver: Receiver, status: int, arrived: bool) -> None:
    receiver.status = status
    why = tell(ContactSettings(webhook=receiver.url), BODY, notice_id="1")
    assert (why is None) == arrived
    assert arrived or f"answered {status}" in str(why)


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    with receiving() as elsewhere:
        receiver.status, receiver.answer = 307, {"Location": elsewhere.url}
        why = tell(ContactSettings(webhook=receiver.url), BODY, notice_id="1")
        assert "307" in str(why)
        assert (len(receiver.got), elsewhere.got) == (1, [])


def test_a_webhook_that_says_nothing_is_given_up_in_time(receiver: Receiver) -> None:
    receiver.silent = True
    why = tell(ContactSettings(webhook=receiver.url, timeout_s=0.2), BODY, notice_id="1")
    assert "timed out" in str(why) or "TimeoutError" in str(why)


def test_what_failed_never_shows_the_url(receiver: Receiver) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/hooks/s3cret-path"
        receiver.status = 403
        for url in (receiver.url, nobody, "https://127.0.0.1:1/s3cret-path", "http://a/ s3cret-path"):
            why = tell(ContactSettings(webhook=url, timeout_s=1), BODY, notice_id="1")
            assert why is not None
            assert "s3cret" not in why


def test_a_token_that_went_is_a_failure_like_others(receiver: Receiver, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc")
    contact = ContactSettings(webhook=receiver.url, token_file=str(token))
    token.unlink()
    assert "FileNotFoundError" in str(tell(contact, BODY, notice_id="1"))
    assert not receiver.got


def test_a_command_reads_the_record_and_no_shell_its_arguments(tmp_path: Path) -> None:
    text = "open(sys.argv[1], 'wb').write(sys.stdin.buffer.read()); open(sys.argv[2] + '.too', 'w')"
    arguments = [str(tmp_path / "$(touch got) ; got"), str(tmp_path / "*")]
    assert tell(ContactSettings(command=[program(tmp_path, text), *arguments]), BODY, notice_id="1") is None
    assert (tmp_path / "$(touch got) ; got").read_bytes() == BODY
    assert (tmp_path / "*.too").exists()


def test_a_command_that_does_not_read_is_served_too(tmp_path: Path) -> None:
    assert tell(ContactSettings(command=[program(tmp_path, "pass")]), b"x" * (1 << 20), notice_id="1") is None


def test_a_command_that_fails_is_quoted_by_its_end(tmp_path: Path) -> None:
    text = "print('x' * 100_000, file=sys.stderr); print('no\\nroute', file=sys.stderr); sys.exit(7)"
    why = str(tell(ContactSettings(command=[program(tmp_path, text)]), BODY, notice_id="1"))
    assert "exit code 7" in why
    assert why.endswith("no route")
    assert len(why) < 1000


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    text = f"child = os.fork()\nif child: open({str(tmp_path / 'child')!r}, 'w').write(str(child))\ntime.sleep(60)"
    command = [program(tmp_path, text)]
    began = time.monotonic()
    assert "did not end within 0.5 s" in str(tell(ContactSettings(command=command, timeout_s=0.5), BODY, notice_id="1"))
    assert time.monotonic() - began < 20
    child = int((tmp_path / "child").read_text())
    with pytest.raises((ProcessLookupError, FileNotFoundError)):
        while Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.02)
            os.kill(child, 0)
        raise ProcessLookupError


def test_a_command_that_went_is_a_failure_like_others(tmp_path: Path) -> None:
    contact = ContactSettings(command=[program(tmp_path, "pass")])
    (tmp_path / "tell me").unlink()
    assert "cannot be started" in str(tell(contact, BODY, notice_id="1"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "either webhook or command"),
        ({"webhook": "https://a/", "command": ["/bin/true"]}, "either webhook or command"),
        ({"webhook": "file:///etc/passwd"}, "https://"),
        ({"webhook": "https:///nowhere"}, "https://"),
        ({"webhook": "https://me:secret@host/"}, "without credentials"),
        ({"webhook": "https://host/", "token_file": "/nowhere"}, "can be read"),
        ({"command": ["/bin/true"], "token_file": "/dev/null"}, "beside a webhook at https"),
        ({"webhook": "http://hooks.example/", "token_file": "/dev/null"}, "beside a webhook at https"),
        ({"command": ["true"]}, "absolute path"),
        ({"command": ["/nowhere/at/all"]}, "can be executed"),
        ({"command": []}, "at least 1"),
        ({"command": "/bin/true"}, "list"),
        ({"webhook": "https://host/", "timeout_s": 0}, "greater than 0"),
        ({"webhook": "https://host/", "retries": 3}, "retries"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        ContactSettings(**settings)
