"""Whom a server tells of runs that failed, and how: a webhook or a command of its own configuration.

Specs are data and come from many hands: a spec may only name a contact. What is called, and with which arguments, is
said by the file that whoever runs the server gave it.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import tempfile
from email.message import Message
from pathlib import Path
from typing import IO, Self
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import Field, field_validator, model_validator

from vision_batch import __version__
from vision_batch.settings import Settings

SAID_BYTES = 500
"""So much of the end of what a failed command said on standard error is recorded."""


class ContactSettings(Settings):
    """A webhook, or a command as a list of arguments that no shell sees; both get a run's record as JSON.

    A webhook is sent it by POST, with the token in `token_file`, if there is one, as its bearer. A command reads it
    from standard input; exit code 0 says that it has arrived.
    """

    webhook: str | None = None
    token_file: str | None = None
    command: list[str] | None = Field(default=None, min_length=1)
    timeout_s: float = Field(default=30.0, gt=0, le=600)

    @field_validator("webhook")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "https://none")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a URL that begins with https:// or http://")
        if parts.username is not None:
            raise ValueError("a URL without credentials: they belong into token_file")
        return value

    @field_validator("command")
    @classmethod
    def _is_a_program(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and not os.path.isabs(value[0]):
            raise ValueError("a list whose first entry is the absolute path of a program")
        if value is not None and not os.access(value[0], os.X_OK):
            raise ValueError("a list whose first entry is the path of a program that can be executed")
        return value

    @field_validator("token_file")
    @classmethod
    def _can_be_read(cls, value: str | None) -> str | None:
        if value is not None and not os.access(value, os.R_OK):
            raise ValueError("a file that can be read")
        return value

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.webhook is None) == (self.command is None):
            raise ValueError("either webhook or command")
        if self.token_file is not None and not _is_private(self.webhook):
            raise ValueError("token_file only beside a webhook at https://, or on this machine")
        return self


def _is_private(webhook: str | None) -> bool:
    """Whether nobody between here and there reads what it is sent."""
    parts = urlsplit(webhook or "")
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


def tell(contact: ContactSettings, body: bytes, *, notice_id: str) -> str | None:
    """Sends `body`, a JSON object; None once it has arrived, else why it has not. Takes `timeout_s` or little more.

    `notice_id` is the same in every attempt: by it a receiver knows what it has got before.
    """
    if contact.command is not None:
        return _call(contact.command, body, contact.timeout_s)
    return _post(contact, body, notice_id)


class _NoRedirect(HTTPRedirectHandler):
    """Who may be sent the record and the token is the configuration's to say, not the answer's."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage | Message, newurl: str
    ) -> None:
        return None


def _post(contact: ContactSettings, body: bytes, notice_id: str) -> str | None:
    assert contact.webhook is not None
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"vision-batch/{__version__}",
        "Idempotency-Key": notice_id,
    }
    try:
        if contact.token_file is not None:
            headers["Authorization"] = f"Bearer {Path(contact.token_file).read_text().strip()}"
        request = Request(contact.webhook, data=body, headers=headers, method="POST")
        with build_opener(_NoRedirect).open(request, timeout=contact.timeout_s):
            return None
    except HTTPError as error:
        with error:
            return f"the webhook answered {error.code} {error.reason}"
    except URLError as error:
        return f"the webhook cannot be reached: {error.reason}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"the webhook cannot be called: {type(error).__name__}"  # its text might show the URL or the token


def _call(command: list[str], body: bytes, timeout_s: float) -> str | None:
    with tempfile.TemporaryFile() as record, tempfile.TemporaryFile() as said:
        record.write(body)
        record.seek(0)
        try:
            process = subprocess.Popen(
                command, stdin=record, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        except OSError as error:
            return f"{command[0]} cannot be started: {error.strerror}"
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # not waited for yet, so the group is still this one
            process.wait()
            return f"{command[0]} did not end within {timeout_s:g} s and was killed"
        return None if code == 0 else f"{command[0]} ended with exit code {code}{_end_of(said)}"


def _end_of(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - SAID_BYTES))
    text = " ".join(said.read().decode(errors="replace").split())
    return f": {text}" if text else ""
