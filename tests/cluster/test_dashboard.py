"""Requests to a dashboard are repeated when they are lost, never without limit, and fail in plain words."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.jobs_api import Answer, Request, jobs_api
from vision_batch.cluster import dashboard as dashboard_module
from vision_batch.cluster.dashboard import Dashboard
from vision_batch.errors import ClusterError


def answers(*given: Answer) -> Callable[[Request], Answer]:
    """Each request gets the next one, the last for ever."""
    left = list(given)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


def test_the_token_is_sent_whatever_else_the_machine_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    with jobs_api(answers((200, {"here": True}))) as api:
        assert Dashboard(api.address, lambda: "the-token").ask("GET", "/api/version") == {"here": True}
        Dashboard(api.address, None).ask("GET", "/api/version")
    assert [request.headers.get("authorization") for request in api.requests] == ["Bearer the-token", None]


NO_AGENT = b"No available agent to submit job, please try again later."


@pytest.mark.parametrize("lost", [(0, None), (503, b"upstream"), (500, NO_AGENT)])
def test_what_was_lost_is_asked_again(lost: Answer) -> None:
    with jobs_api(answers(lost, (200, b""))) as api:
        assert Dashboard(api.address, None).ask("PUT", "/api/packages/gcs/x.zip", data=b"data") is None
    assert [request.body for request in api.requests] == [b"data", b"data"]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "demands a token, and none was sent; say `auth: token`"),
        (403, "does not accept the token in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"),
        (307, "not here any more, but at somewhere else; say that address in the profile"),
        (500, "HTTP 500: ValueError: no"),
    ],
)
def test_a_refusal_is_said_at_once_and_in_words(status: int, said: str) -> None:
    refusal = answers((status, b"Traceback\n  in x\nValueError: no\n"))
    with jobs_api(refusal) as api, pytest.raises(ClusterError, match=said):
        Dashboard(api.address, lambda: "the-token").ask("GET", "/api/jobs/")
    assert len(api.requests) == 1


def test_nobody_there_is_said_and_no_endless_wait(caplog: pytest.LogCaptureFixture) -> None:
    with jobs_api(answers((200, b""))) as api:
        pass
    with pytest.raises(ClusterError, match=r"no answer within 1 s \(.*[Cc]onnection refused.*\); expected"):
        Dashboard(api.address, None, try_for_s=0.6).ask("GET", "/api/version")
    (said,) = caplog.messages
    assert "does not answer" in said
    assert "trying for 1 s" in said


def test_a_server_that_says_nothing_is_no_endless_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_module, "ANSWER_S", 0.1)

    def late(request: Request) -> Answer:
        time.sleep(0.3)
        return 0, None

    with jobs_api(late) as api, pytest.raises(ClusterError, match=r"no answer within 0 s \(.*timed out"):
        Dashboard(api.address, None, try_for_s=0.1).ask("GET", "/api/version")


def test_another_server_is_told_from_a_dashboard() -> None:
    with (
        jobs_api(answers((200, b"<html>"))) as api,
        pytest.raises(ClusterError, match="no JSON; expected"),
    ):
        Dashboard(api.address, None).ask("GET", "/api/version")


def test_the_port_of_something_else_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x00\x00\x12\x04\x00\xfe\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ClusterError, match=r"\(what answers there does not speak HTTP\)"):
            Dashboard(f"http://127.0.0.1:{server.getsockname()[1]}", None, try_for_s=0).ask("GET", "/api/version")
        thread.join()


def test_no_error_tells_the_token() -> None:
    with jobs_api(answers((403, b"no"))) as api, pytest.raises(ClusterError) as caught:
        Dashboard(api.address, lambda: "planted-token").ask("GET", "/api/version")
    assert "planted-token" not in repr(caught.value) + str(caught.value.__cause__)
