"""Plain values as YAML that reads back as the same, whichever version of YAML its reader knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def yaml_text(document: Mapping[str, Any], *, width: int = 1000) -> str:
    """`document` (dicts, lists, scalars), keys in their order; what holds only scalars is on lines of `width`."""
    return yaml.dump(
        dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width, default_flow_style=None
    )


class _Dumper(yaml.SafeDumper):
    """Quotes every text: PyYAML writes YAML 1.1, in which other words are numbers and booleans than in a spec."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        """Keys that are words stay without quotes, unless YAML 1.1 takes them for something else."""
        node = super().represent_mapping(tag, mapping, flow_style)
        for key, _ in node.value:
            if PLAIN_KEY.fullmatch(key.value):
                key.style = None
        return node


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))
