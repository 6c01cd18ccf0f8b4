"""Plain values as YAML that reads back as the same, whichever version of YAML its reader knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def yaml_text(document: Mapping[str, Any], *, width: int = 1000) -> str:
    """`document` (dicts, lists, scalars), keys in their order; lists of up to `width` characters stay on one line."""
    return yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)


class _Dumper(yaml.SafeDumper):
    """Quotes every text: PyYAML writes YAML 1.1, in which other words are numbers and booleans than in a spec."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))
