"""What is written as YAML is read back as it was, by our reader and by one of YAML 1.1."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.documents.document import parse_yaml
from vision_batch.documents.yaml_text import yaml_text

WORDS = st.sampled_from(["on", "no", "y", "null", "true", "1e-3", "0x10", "2026-01-01", "a.b", "a: b", "'", "~", "é"])
TEXTS = WORDS | st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda child: st.lists(child, max_size=4) | st.dictionaries(TEXTS, child, max_size=4))


@given(st.dictionaries(TEXTS, VALUES, max_size=5), st.sampled_from([40, 120, 1000]))
def test_it_reads_back_the_same(document: dict[str, object], width: int) -> None:
    text = yaml_text(document, width=width)
    assert parse_yaml(text, where="text") == document
    assert yaml.safe_load(text) == document


def test_keys_that_are_words_and_short_lists_read_well() -> None:
    assert yaml_text({"size": [32, 32], "on": {"name": "no"}}) == "size: [32, 32]\n'on':\n  name: \"no\"\n"
