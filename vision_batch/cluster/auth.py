"""The token that every call to a Ray must carry: a fresh one for a Ray of our own, the cluster's for one that we join.

Tokens live in the environment and in files, where Ray looks for them; they are on no command line and in no message.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from vision_batch.cluster.ray_token import TOKEN, TOKEN_PATH, read_token
from vision_batch.errors import Problem, SpecError

if TYPE_CHECKING:
    import grpc

Auth = Literal["token", "none"]

MODE, DISABLED = "RAY_AUTH_MODE", "disabled"

CLUSTER_ID = "/ray.rpc.NodeInfoGcsService/GetClusterId"
ANSWER_S = 10.0
"""How long a cluster may take to say whether it lets strangers in."""


@contextmanager
def fresh_token() -> Iterator[None]:
    """A Ray that is started within the block demands a token that only this process and its children have."""
    token = {MODE: "token", TOKEN: secrets.token_hex(32), "RAY_ENABLE_K8S_TOKEN_AUTH": "false"}
    with _environment(token):
        yield


def wanted_auth() -> Auth:
    """Of a cluster that no profile describes: a token, unless RAY_AUTH_MODE=disabled says aloud that it has none."""
    return "none" if os.environ.get(MODE, "").lower() == DISABLED else "token"


@contextmanager
def cluster_token(auth: Auth, where: str) -> Iterator[None]:
    """What calls a cluster within the block shows its token, or none with `auth` none.

    The token is found where Ray finds it: RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, ~/.ray/auth_token.
    SpecError, naming `where`, when it is nowhere.
    """
    if auth == "token" and (os.environ.get(TOKEN) or os.environ.get(TOKEN_PATH)):
        read_token()  # what Ray's core would end the process for is said before
    with _environment({MODE: "token" if auth == "token" else DISABLED}):
        if auth == "token" and not _token_loader().has_token(ignore_auth_mode=True):
            expected = f"{TOKEN}, or {TOKEN_PATH}, the name of a file that holds it"
            raise SpecError(Problem(where, "no token for the cluster", expected))
        yield


def demand_token(address: str) -> None:
    """SpecError when the Ray at host:port does not take this process's token, or needs none.

    With the wrong one Ray itself would try for 20 s and then not say why. Where none is needed, whoever reaches the
    cluster runs what they like on it, with the credentials of its workers.
    """
    import grpc

    ours = [(name.lower(), value) for name, value in _token_loader().get_token_for_http_header().items()]
    if _answer(address, ours) is grpc.StatusCode.UNAUTHENTICATED:
        found = f"a cluster at {address} that does not take the token"
        raise SpecError(Problem("--address", found, f"in {TOKEN} or {TOKEN_PATH} the one that it was started with"))
    if _answer(address, []) in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE):  # the latter with TLS
        return
    found = f"a cluster at {address} that lets anybody in, without a token"
    expected = f"one that was started with {MODE}=token; or {MODE}={DISABLED} here too, if that is meant"
    raise SpecError(Problem("--address", found, expected))


def _answer(address: str, metadata: list[tuple[str, str]]) -> grpc.StatusCode:
    """The status of a call that asks for little."""
    import grpc  # a part of ray[default]

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(CLUSTER_ID)(b"", timeout=ANSWER_S, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def _token_loader() -> Any:
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    return AuthenticationTokenLoader.instance()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets variables for this process and its children, and has Ray, which reads them once, read them again."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    _read_again()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if os.environ.get(MODE) != "token" or os.environ.get(TOKEN):
            _read_again()  # else a thread of Ray's that has not ended yet might find no token, and end the process


def _read_again() -> None:
    from ray._raylet import Config  # type: ignore[attr-defined]

    Config.initialize("")
    _token_loader().reset_cache()
