"""The HTTP side of a Ray cluster: requests to its dashboard with a token, time limits, retries, and errors in words.

Ray's own client is not used: it goes to the address in RAY_ADDRESS rather than to the one that it is given, waits
without a limit, and tries nothing twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from http.client import BadStatusLine, RemoteDisconnected
from itertools import count
from typing import Any

import requests
from requests.auth import AuthBase

from vision_batch.errors import ClusterError

log = logging.getLogger(__name__)

CONNECT_S = 5.0
ANSWER_S = 60.0
"""How long an answer may take; Ray's head itself asks its agent for up to half of that."""
TRY_FOR_S = 60.0
"""How long a lost connection is tried again: the time in which a head is restarted."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
TRY_LATER = frozenset((502, 503, 504))
"""What proxies say while the dashboard is away."""
NOT_YET = (500, "No available agent")
"""What the dashboard of a head that has just started says, until the process beside it is there that begins jobs."""


class Dashboard:
    """One cluster's dashboard. Only what may be repeated is asked of it: an answer that was lost is asked for again."""

    def __init__(self, address: str, token: Callable[[], str] | None, *, try_for_s: float = TRY_FOR_S) -> None:
        """`token` is asked for every request: a service runs for longer than a token may last."""
        self.address = address
        self._session = requests.Session()
        self._session.auth = _Bearer(token)
        self._try_for_s = try_for_s

    def request(self, method: str, path: str, *, data: bytes | None = None, json: Any = None) -> requests.Response:
        """The answer, whatever its status but 401, 403 and redirections. ClusterError for these, and when there is none
        in time."""
        trouble = ""
        for attempt in _attempts(self._try_for_s):
            if attempt == 1:
                log.warning("%s does not answer (%s); trying for %.0f s", self.address, trouble, self._try_for_s)
            try:
                answer = self._session.request(
                    method,
                    self.address + path,
                    data=data,
                    json=json,
                    timeout=(CONNECT_S, ANSWER_S),
                    allow_redirects=False,  # what is posted would arrive as a question, and count as done
                )
            except requests.exceptions.SSLError as error:
                raise ClusterError(f"{self.address}: no trust in its certificate: {_reason(error)}") from error
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                trouble = _reason(error)
                continue
            if answer.status_code in TRY_LATER or _is_not_yet(answer):
                trouble = f"HTTP {answer.status_code}"
                continue
            self._demand_access(answer)
            return answer
        raise ClusterError(
            f"{self.address}: no answer within {self._try_for_s:.0f} s ({trouble}); expected the dashboard of a "
            "running Ray cluster: is it up, is its port reachable from here, is the profile's address right?"
        )

    def ask(self, method: str, path: str, *, data: bytes | None = None, json: Any = None) -> Any:
        """The JSON of the answer, None where that is empty. ClusterError for any status but 200."""
        answer = self.request(method, path, data=data, json=json)
        if answer.status_code != 200:
            raise self.refusal(answer)
        return self.content(answer)

    def content(self, answer: requests.Response) -> Any:
        """The JSON of the answer, None where that is empty. ClusterError where it is something else."""
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise ClusterError(f"{answer.url}: no JSON; expected the dashboard of a Ray cluster") from error

    def refusal(self, answer: requests.Response) -> ClusterError:
        """What the dashboard said, in one line: of a traceback, its last."""
        said = (answer.text.strip().splitlines() or ["nothing"])[-1][:500]
        return ClusterError(f"{self.address}: HTTP {answer.status_code}: {said}")

    def _demand_access(self, answer: requests.Response) -> None:
        match answer.status_code:
            case 301 | 302 | 303 | 307 | 308:
                there = answer.headers.get("Location", "somewhere else")
                raise ClusterError(
                    f"{self.address}: not here any more, but at {there}; say that address in the profile if it is right"
                )
            case 401:
                raise ClusterError(
                    f"{self.address}: the cluster demands a token, and none was sent; say `auth: token` in the profile"
                )
            case 403:
                raise ClusterError(
                    f"{self.address}: the cluster does not accept the token in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH; "
                    "it has to be the one that the cluster was started with"
                )


class _Bearer(AuthBase):
    """Sets the header itself, so that no password in a ~/.netrc takes its place."""

    def __init__(self, token: Callable[[], str] | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token()}"
        return request


def _is_not_yet(answer: requests.Response) -> bool:
    status, text = NOT_YET
    return answer.status_code == status and answer.text.startswith(text)


def _attempts(try_for_s: float) -> Iterator[int]:
    """Counts from 0: at once, then after growing pauses until the time is over."""
    deadline, pause_s = time.monotonic() + try_for_s, FIRST_PAUSE_S
    for attempt in count():
        yield attempt
        if time.monotonic() + pause_s > deadline:
            return
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _reason(error: Exception) -> str:
    """The innermost cause: what wraps it repeats the URL and names classes."""
    while (cause := error.__cause__ or error.__context__) is not None and isinstance(cause, Exception):
        error = cause
    if isinstance(error, BadStatusLine) and not isinstance(error, RemoteDisconnected):
        return "what answers there does not speak HTTP"
    return str(error) or type(error).__name__
