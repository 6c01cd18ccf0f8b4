"""The `augment:` part of a spec: what it may say, and what is said where it is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import Field

from vision_batch.documents.validation import validate_settings
from vision_batch.errors import SpecError
from vision_batch.images.augmentations.settings import AugmentSettings
from vision_batch.settings import Settings

SPAN = re.compile(r"`(\w+): ([^`]+)`")


class Spec(Settings):
    """As much of a train spec as matters here."""

    augment: list[AugmentSettings] = Field(default_factory=list)


def parsed(*entries: Any) -> list[AugmentSettings]:
    return validate_settings(Spec, {"augment": list(entries)}, what="the spec").augment


def complaint(*entries: Any) -> str:
    with pytest.raises(SpecError) as error:
        parsed(*entries)
    assert len(error.value.problems) == 1
    return str(error.value)


def test_a_list_of_operations_in_their_order() -> None:
    entries = parsed({"random_resized_crop": {"scale": [0.8, 1.0]}}, {"rotate": {"degrees": 10}}, "horizontal_flip")
    assert [entry.operation[0] for entry in entries] == ["random_resized_crop", "rotate", "horizontal_flip"]
    assert entries[0].random_resized_crop is not None
    assert entries[0].random_resized_crop.scale == (0.8, 1.0)
    assert entries[1].rotate is not None
    assert entries[1].rotate.degrees == (-10, 10)


@pytest.mark.parametrize("name", AugmentSettings.model_fields)
def test_a_name_alone_stands_for_the_defaults(name: str) -> None:
    bare, empty, section = parsed(name, {name: None}, {name: {}})
    assert bare == empty == section
    assert bare.operation[0] == name


@pytest.mark.parametrize("name", AugmentSettings.model_fields)
def test_what_is_written_out_reads_back(name: str) -> None:
    (entry,) = parsed(name)
    written = json.loads(json.dumps(entry.model_dump()))
    assert list(written) == [name]
    assert parsed(written) == [entry]


@pytest.mark.parametrize(
    ("entry", "where", "words"),
    [
        ({"rotat": {"degrees": 3}}, "augment.0.rotat", "did you mean 'rotate'?"),
        ("horizontal_flp", "augment.0", "did you mean 'horizontal_flip'?"),
        ({"rotate": {"degree": 3}}, "augment.0.rotate.degree", "did you mean 'degrees'?"),
        ({"rotate": {"degrees": [10, -10]}}, "augment.0.rotate.degrees", "the lower one first"),
        ({"rotate": {"degrees": 200}}, "augment.0.rotate.degrees", "from -180 to 180"),
        ({"rotate": {"degrees": [float("nan"), 3]}}, "augment.0.rotate.degrees", "from -180 to 180"),
        ({"rotate": {"degrees": True}}, "augment.0.rotate.degrees", "expected a number"),
        ({"rotate": {"fill": 256}}, "augment.0.rotate.fill", "from 0 to 255 or reflect"),
        ({"rotate": {"p": 1.5}}, "augment.0.rotate.p", "from 0"),
        ({"jpeg": {"quality": [0, 50]}}, "augment.0.jpeg.quality", "from 1 to 100"),
        ({"elastic": {"shift": 0.1, "cells": 8}}, "augment.0.elastic", "folds over itself"),
        ({"rotate": {}, "blur": {}}, "augment.0", "one operation an entry"),
        ({}, "augment.0", "one operation an entry"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(entry: Any, where: str, words: str) -> None:
    said = complaint(entry)
    assert said.startswith(f"{where}: ")
    assert words in said


@pytest.mark.parametrize(
    ("entry", "fits"),
    [
        ("horizontal_flip", True),
        ({"rotate": {"degrees": 10}}, True),
        ({"rotate": {"degrees": [-10, 10], "p": 0.3, "fill": "reflect"}}, True),
        ({"rotate": {"degrees": 200}}, False),
        ({"rotat": {}}, False),
        ("rotat", False),
        ({"rotate": {}, "blur": {}}, False),
        ({}, False),
        ({"jpeg": {"quality": [30.5, 40]}}, False),
    ],
)
def test_the_json_schema_says_the_same(entry: Any, fits: bool) -> None:
    schema = Spec.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid({"augment": [entry]}) is fits
    if not fits:
        complaint(entry)


def test_the_documentation_has_every_operation_with_its_defaults() -> None:
    text = (Path(__file__).parents[3] / "docs" / "augmentation.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*?) \| \d+ \|$", text, re.MULTILINE))
    assert list(rows) == list(AugmentSettings.model_fields)
    for name, told in rows.items():
        defaults = dict(parsed(name)[0].operation[1])
        said = {key: json.loads(value) if value[0] in "[0123456789" else value for key, value in SPAN.findall(told)}
        assert _rounded({"p": 1, **said}) == _rounded(defaults)


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """To the digits of the documentation."""
    return {
        key: [float(f"{bound:.3g}") for bound in value] if isinstance(value, list | tuple) else value
        for key, value in values.items()
    }


def test_reading_them_imports_nothing_heavy() -> None:
    code = "import sys, vision_batch.images.augmentations.settings; print({'numpy', 'cv2', 'torch'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"
