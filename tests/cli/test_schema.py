"""`schema` prints a JSON Schema that says what the loader does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from vision_batch.cli.main import main
from vision_batch.documents.document import parse_yaml, read_document
from vision_batch.jobs.starter import starter_kinds, starter_spec

SPECS = sorted((Path(__file__).parents[2] / "jobs").glob("*.yaml"))


@pytest.fixture
def schema(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What the command prints."""
    assert main(["schema"]) == 0
    return json.loads(capsys.readouterr().out)


def is_valid(document: object, schema: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(document)


def test_it_is_a_schema_of_draft_2020_12(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_the_repositorys_own_specs_fit(path: Path, schema: dict[str, Any]) -> None:
    jsonschema.validate(read_document(path, expected="a spec"), schema)


@pytest.mark.parametrize("kind", starter_kinds())
def test_starters_fit(kind: str, schema: dict[str, Any]) -> None:
    jsonschema.validate(parse_yaml(starter_spec(kind), where=kind), schema)


@pytest.mark.parametrize(
    "change",
    [
        {"job": "train"},
        {"job": "evaluate"},
        {"compute": {"batchsize": 3}},
        {"task": {"type": "classification", "top_k": 0}},
        {"input": {}},
        {"nmae": "x"},
        {"preprocess": {"mean": [1, 2]}},
    ],
)
def test_typos_do_not_fit(change: dict[str, Any], schema: dict[str, Any]) -> None:
    good = parse_yaml(starter_spec("predict"), where="starter")
    assert is_valid(good, schema)
    assert not is_valid(good | change, schema)
