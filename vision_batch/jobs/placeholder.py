"""What the environment fills in in a spec's text values: `${ENV_VAR}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vision_batch.errors import Problem
from vision_batch.settings import SECRET_WORDS

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand_environment(value: Any, environment: Mapping[str, str], problems: list[Problem], where: str = "") -> Any:
    """A copy of `value` with `${X}` in its texts replaced by X's value; `$${` is a literal `${`. Keys stay.

    What cannot be expanded stays as it is and is added to `problems`; `where` is the dotted path of `value`.
    """
    match value:
        case str():
            return _VARIABLE.sub(lambda found: _variable(found, environment, problems, where), value)
        case dict():
            return {
                k: expand_environment(v, environment, problems, f"{where}.{k}".strip(".")) for k, v in value.items()
            }
        case list():
            return [
                expand_environment(v, environment, problems, f"{where}.{i}".strip(".")) for i, v in enumerate(value)
            ]
        case _:
            return value


def _variable(found: re.Match[str], environment: Mapping[str, str], problems: list[Problem], where: str) -> str:
    name = found[1]
    if name is None:
        return "${"
    if not _NAME.fullmatch(name):
        problems.append(Problem(where, found[0], "${NAME}, the name of an environment variable ($${ for a literal ${)"))
    elif any(word in name.upper() for word in SECRET_WORDS):
        problems.append(Problem(where, found[0], "no secrets in a spec: storage finds its credentials by itself"))
    elif name not in environment:
        problems.append(Problem(where, f"{found[0]}, which is not set", "an environment variable that is set"))
    else:
        return environment[name]
    return found[0]
