"""A spec is read strictly, completed, and every problem is said at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vision_batch.documents.document import parse_yaml
from vision_batch.errors import Problem, SpecError
from vision_batch.jobs.override import apply_override, parse_override
from vision_batch.jobs.placeholder import expand_environment
from vision_batch.jobs.spec import LoadedSpec, load_spec

GOOD = """
job: predict
name: digits
input: {uri: images/}
model: {source: "python:digits_model:build", labels: [zero, one]}
task: {type: classification}
preprocess: {resize_shorter_px: 256, crop_px: 224}
output: {uri: labels/}
"""

TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=20)

Load = Callable[..., LoadedSpec]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes a spec into a folder of its own and loads it."""
    (tmp_path / "specs").mkdir()

    def write_and_load(text: str = GOOD, *overrides: str, **options: Any) -> LoadedSpec:
        path = tmp_path / "specs" / "job.yaml"
        path.write_text(text, encoding="utf-8")
        return load_spec(path, overrides, **options)

    return write_and_load


def problems_of(load: Load, *arguments: str, **options: Any) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        load(*arguments, **options)
    return list(caught.value.problems)


def only_problem(load: Load, *arguments: str, **options: Any) -> Problem:
    problems = problems_of(load, *arguments, **options)
    assert len(problems) == 1, problems
    return problems[0]


def with_lines(*lines: str) -> str:
    return GOOD + "\n".join(lines) + "\n"


class TestDocument:
    def test_a_good_spec_knows_its_folder_and_what_was_written(self, load: Load, tmp_path: Path) -> None:
        spec = load()
        assert spec.folder == tmp_path / "specs"
        assert spec.path == tmp_path / "specs" / "job.yaml"
        assert spec.settings.model.labels == ["zero", "one"]
        assert spec.settings.limits.max_error_fraction == 0.05
        assert spec.raw["output"] == {"uri": "labels/"}

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match="found no such file"):
            load_spec(tmp_path / "none.yaml")

    def test_a_folder_is_no_spec(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match="expected a spec: a YAML file"):
            load_spec(tmp_path)

    def test_bytes_that_are_not_text(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").write_bytes(b"job: \xff")
        with pytest.raises(SpecError, match="not UTF-8 at 5"):
            load_spec(tmp_path / "x.yaml")

    @pytest.mark.parametrize(
        ("text", "position", "found"),
        [
            ("job: predict\ninput: {uri: [a\noutput: x\n", ":3:7", "did not find expected"),
            ("job: predict\njob: train\n", ":2:1", "the key 'job' a second time"),
            ("job: predict\ninput:\n  uri: a\n  uri: b\n", ":4:3", "the key 'uri' a second time"),
            ("", ":1:1", "an empty file"),
            ("# only a comment\n", ":1:1", "an empty file"),
            ("- job\n- predict\n", ":1:1", "a list of 2"),
            ("1: predict\n", ":1:1", "the number 1 as a key"),
            ("job: !!python/object/apply:os.system [ls]\n", ":1:6", "python/object/apply:os.system"),
            ("job: !!int predict\n", ":1:6", "'predict' with the tag"),
            ("job: &job\n  kinds: [*job]\n", ":1:6", "too deep"),
            ("a: predict\n---\nb: 1\n", ":2:1", "but found another document"),
            ("job: " + "[" * 60 + "]" * 60, ":1:", "too deep"),
        ],
    )
    def test_what_is_no_mapping_is_refused_with_line_and_column(
        self, load: Load, text: str, position: str, found: str
    ) -> None:
        problem = only_problem(load, text)
        assert f"job.yaml{position}" in problem.where
        assert found in problem.found

    def test_every_duplicate_is_named(self, load: Load) -> None:
        assert len(problems_of(load, "a: 1\na: 2\nb: 1\nb: 2\n")) == 2

    def test_aliases_that_multiply_are_stopped(self, load: Load) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
        assert "too many values" in only_problem(load, "\n".join(lines)).found

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("no", "no"),
            ("On", "On"),
            ("trueish", "trueish"),
            ("true", True),
            ("1e-3", 0.001),
            ("1.0e-3", 0.001),
            ("010", 10),
            ("12:30:00", "12:30:00"),
            ("2026-01-31", "2026-01-31"),
            ("1_000", "1_000"),
            ("~", None),
            ("", None),
            ("'5'", "5"),
            ("-.inf", float("-inf")),
            ("[1, {a: b}]", [1, {"a": "b"}]),
        ],
    )
    def test_scalars_mean_what_they_look_like(self, text: str, value: object) -> None:
        assert parse_yaml(text, where="here") == value


class TestEnvironment:
    def test_values_are_expanded_and_keys_are_not(self, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VB_BUCKET", "photos")
        text = GOOD.replace("images/", '"s3://${VB_BUCKET}/in"').replace(
            "labels: [zero, one]", 'labels: ["${VB_BUCKET}"]'
        )
        spec = load(text, "model.options={'${VB_BUCKET}': 1}")
        assert spec.settings.input.uri == "s3://photos/in"
        assert spec.settings.model.labels == ["photos"]
        assert spec.settings.model.options == {"${VB_BUCKET}": 1}

    def test_the_record_holds_what_was_written(self, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VB_BUCKET", "photos")
        assert load(GOOD.replace("images/", '"s3://${VB_BUCKET}/in"')).raw["input"]["uri"] == "s3://${VB_BUCKET}/in"

    def test_a_number_may_come_from_the_environment(self, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VB_BATCH", "32")
        assert load(with_lines("compute: {batch_size: '${VB_BATCH}'}")).settings.compute.batch_size == 32

    def test_an_unset_variable_is_a_problem_once(self, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("VB_NOT_SET", raising=False)
        problem = only_problem(load, with_lines("compute: {batch_size: '${VB_NOT_SET}'}"))
        assert (problem.where, problem.found) == ("compute.batch_size", "${VB_NOT_SET}, which is not set")

    @pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "hf_token", "MY_PASSWORD", "Api_Key"])
    def test_secrets_are_refused_and_never_shown(self, load: Load, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(name, "hunter2")
        problem = only_problem(load, GOOD.replace("images/", f'"${{{name}}}"'))
        assert problem.where == "input.uri"
        assert "hunter2" not in str(problem)

    def test_a_default_value_is_no_name(self, load: Load) -> None:
        assert only_problem(load, GOOD.replace("images/", '"${X:-y}"')).found == "${X:-y}"

    def test_a_doubled_dollar_is_a_literal(self, load: Load) -> None:
        assert load(GOOD, 'model.options.x="$${HOME}"').settings.model.options == {"x": "${HOME}"}

    @given(st.text())
    def test_law_escaped_text_comes_out_as_it_was(self, text: str) -> None:
        problems: list[Problem] = []
        escaped = text.replace("${", "$${")
        if "$${" not in text:
            assert expand_environment(escaped, {}, problems) == text
            assert problems == []


class TestTime:
    MOMENT = datetime(2026, 3, 1, 0, 30, 5, tzinfo=timezone(timedelta(hours=2)))

    def test_uris_take_the_scheduled_time_in_utc(self, load: Load, tmp_path: Path) -> None:
        text = GOOD.replace("images/", '["in/{date}", {name: b, uri: "b/{scheduled_time}"}]')
        spec = load(text.replace("labels/", '"out/{scheduled_time}"'), scheduled_time=self.MOMENT)
        entries = [entry.uri for entry in spec.settings.input.inputs]
        assert entries == [f"{tmp_path}/specs/in/2026-02-28", f"{tmp_path}/specs/b/20260228T223005Z"]
        assert spec.settings.output.uri == f"{tmp_path}/specs/out/20260228T223005Z"

    def test_the_default_is_now(self, load: Load) -> None:
        before = f"{datetime.now(UTC):%Y-%m-%d}"
        found = load(GOOD.replace("labels/", '"out-{date}"')).settings.output.uri.rpartition("out-")[2]
        assert before <= found <= f"{datetime.now(UTC):%Y-%m-%d}"

    def test_it_may_stay_open(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "open.yaml").write_text(GOOD.replace("labels/", '"out/{date}"'))
        spec = load_spec(tmp_path / "open.yaml", for_any_time=True)
        assert spec.settings.output.uri == f"{tmp_path}/out/{{date}}"

    def test_other_values_stay(self, load: Load) -> None:
        options = load(GOOD, 'model.options.x="{date}"').settings.model.options
        assert options == {"x": "{date}"}


class TestOverride:
    def test_values_are_yaml(self, load: Load) -> None:
        spec = load(
            GOOD,
            "compute.batch_size=32",
            "preprocess.mean=[0, 0.5, 1e-1]",
            "model.options={depth: 18, name: no}",
            "task.top_k=1",
            "task.top_k=2",
        )
        assert spec.settings.compute.batch_size == 32
        assert spec.settings.preprocess is not None
        assert spec.settings.preprocess.mean == (0, 0.5, 0.1)
        assert spec.settings.model.options == {"depth": 18, "name": "no"}
        assert spec.settings.task.top_k == 2
        assert spec.raw["compute"] == {"batch_size": 32}

    def test_a_value_may_hold_an_equals_sign_and_be_empty(self, load: Load) -> None:
        spec = load(GOOD, "model.options.query=a=b", "preprocess.crop_px=224", "input.id_column=")
        assert spec.settings.model.options == {"query": "a=b"}
        assert spec.settings.input.id_column is None

    def test_list_indices(self, load: Load, tmp_path: Path) -> None:
        spec = load(GOOD.replace("images/", "[a, {name: n, uri: b}]"), "input.uri.0=/x", "input.uri.1.name=m")
        assert [(e.name, e.uri) for e in spec.settings.input.inputs] == [("0", "/x"), ("m", f"{tmp_path}/specs/b")]

    @pytest.mark.parametrize(
        ("override", "where", "text"),
        [
            ("compute.batch_sise=3", "compute.batch_sise", "did you mean 'batch_size'?"),
            ("batch_size=3", "batch_size", "'batch_size' belongs under compute"),
            ("input.uri.0=x", "-o input.uri.0", "'images/' at input.uri"),
            ("model.labels.2=x", "-o model.labels.2", "an index from 0 to 1"),
            ("model.labels.-1=x", "-o model.labels.-1", "an index from 0 to 1"),
            ("compute", "-o compute", "no key=value"),
            ("=3", "-o =3", "no key=value"),
            ("a..b=3", "-o a..b=3", "no key=value"),
            ("task.top_k=[1", "-o task.top_k:", "did not find expected"),
        ],
    )
    def test_what_has_no_place_is_a_problem(self, load: Load, override: str, where: str, text: str) -> None:
        problem = only_problem(load, GOOD, override)
        assert problem.where.startswith(where)
        assert text in str(problem)

    def test_every_problem_at_once(self, load: Load) -> None:
        places = [problem.where for problem in problems_of(load, GOOD, "x", "y", "tusk.top_k=1", "task.top_k=many")]
        assert places == ["-o x", "-o y", "task.top_k", "tusk"]

    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
    keys = st.text("abcdefghij_", min_size=1, max_size=5)

    @settings(suppress_health_check=[HealthCheck.too_slow])
    @given(
        document=st.dictionaries(keys, st.dictionaries(keys, scalars, max_size=3), max_size=3),
        path=st.lists(keys, min_size=1, max_size=2),
        value=st.recursive(
            scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
        ),
    )
    def test_law_what_was_put_is_found_and_nothing_else_changed(
        self, document: dict[str, Any], path: Sequence[str], value: Any
    ) -> None:
        before = repr(document)
        text = json.dumps(value, ensure_ascii=False)  # JSON is YAML
        found, place = apply_override(document, parse_override(f"{'.'.join(path)}={text}"))
        here: Any = found
        for part in place:
            here = here[part]
        assert here == value
        assert repr(document) == before
        others = {key: child for key, child in found.items() if key != path[0]}
        assert others == {key: child for key, child in document.items() if key != path[0]}


class TestPlaces:
    def test_the_file_speaks_of_its_own_folder(self, load: Load, tmp_path: Path) -> None:
        spec = load(GOOD.replace("images/", "../data/*.tar"))
        assert spec.settings.input.uri == f"{tmp_path}/data/*.tar"
        assert spec.settings.output.uri == f"{tmp_path}/specs/labels"

    def test_the_command_line_speaks_of_the_current_folder(
        self, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = tmp_path / "elsewhere"
        (here / "vit").mkdir(parents=True)
        monkeypatch.chdir(here)
        spec = load(GOOD, "input.uri=in", "model.weights=w.safetensors", "model.labels=names.txt", output="out")
        assert spec.settings.input.uri == f"{here}/in"
        assert spec.settings.output.uri == f"{here}/out"
        assert spec.settings.model.weights == f"{here}/w.safetensors"
        assert spec.settings.model.labels == f"{here}/names.txt"
        assert load(GOOD, "model.source=export:m.pt2").settings.model.source == f"export:{here}/m.pt2"
        assert load(GOOD, "model.source=transformers:vit").settings.model.source == f"transformers:{here}/vit"
        assert load(GOOD, "model.source=transformers:org/vit").settings.model.source == "transformers:org/vit"
        assert load(GOOD, "input={uri: [a, b]}").settings.input.uri == [f"{here}/a", f"{here}/b"]

    def test_the_models_own_paths_are_left_to_the_models(self, load: Load) -> None:
        text = GOOD.replace("labels: [zero, one]", "labels: names.txt, weights: w.safetensors")
        assert load(text).settings.model.weights == "w.safetensors"
        assert load(text).settings.model.labels == "names.txt"

    def test_what_cannot_be_a_place(self, load: Load) -> None:
        text = GOOD.replace("images/", "[gs://bucket/x, 's3:///key']").replace("labels/", "https://host/x")
        found = problems_of(load, text)
        assert [problem.where for problem in found] == ["output.uri", "input.uri.0", "input.uri.1"]
        assert "the scheme gs://" in found[1].found

    def test_credentials_in_a_uri_are_refused_and_not_shown(self, load: Load) -> None:
        problem = only_problem(load, GOOD.replace("labels/", "s3://AKIA:hunter2@bucket/x"))
        assert problem.where == "output.uri"
        assert "hunter2" not in str(problem)

    def test_parquet_uris_may_be_allowed_beside_the_spec(self, load: Load, tmp_path: Path) -> None:
        assert load(GOOD, "name=x").settings.input.allow == []
        text = GOOD.replace("{uri: images/}", "{uri: images/, allow: [../pictures/]}")
        assert load(text).settings.input.allow == [f"{tmp_path}/pictures"]


class TestValidation:
    @pytest.mark.parametrize(
        ("override", "line"),
        [
            ("compute.layout=merged", "compute.layout: found 'merged'; expected auto, joined or split"),
            (
                "compute.batch_size=0",
                "compute.batch_size: found the number 0; expected auto or a whole number of at least 1",
            ),
            (
                "compute.batch_size=true",
                "compute.batch_size: found true; expected auto or a whole number of at least 1",
            ),
            (
                "compute.batch_size=1.5",
                "compute.batch_size: found the number 1.5; expected auto or a whole number of at least 1",
            ),
            ("preprocess.crop_px=wide", "preprocess.crop_px: found 'wide'; expected a whole number from 1 to 16384"),
            ("preprocess.mean=[1]", "preprocess.mean: found a list of 1; expected a list of 3, each a number"),
            ("preprocess.mean=[1,2,3,4]", "preprocess.mean: found a list of 4; expected a list of 3, each a number"),
            (
                "limits.max_error_fraction=2",
                "limits.max_error_fraction: found the number 2; expected a number from 0 to 1",
            ),
            ("name=5", "name: found the number 5; expected text that matches"),
            ("model=null", "model: found nothing (null); expected a section with the keys source, weights"),
            ("model={}", "model.source: found nothing; expected text"),
            ("task.type=telepathy", "task.type: found 'telepathy'; expected classification"),
            ("input.uri=5", "input.uri: found the number 5; expected text or a list, each text or a section"),
            ("input.uri=[5]", "input.uri.0: found the number 5; expected text or a section with the keys uri, name"),
            ("input.uri=[{uri: x}]", "input.uri.0.name: found nothing; expected text that matches"),
            ("input.uri=[]", "input.uri: found a list of 0; expected a folder, file or glob, or a list of them"),
            ("preprocess.letterbox_px=64", "only one of resize_shorter_px, letterbox_px"),
            ("output.uri=x.parquet", "output.uri: found 'x.parquet'; expected a folder, neither a .parquet file nor"),
            ("output.uri=x-*", "output.uri: found 'x-*'; expected a folder, neither a .parquet file nor a glob"),
            ("job=measure", "job: found 'measure'; expected one of the kinds of job: predict, train, evaluate"),
            (
                "job=predcit",
                "job: found 'predcit' (did you mean 'predict'?); expected one of the kinds of job: predict",
            ),
            ("job=null", "job: found nothing; expected one of the kinds of job: predict"),
            ("job=[1]", "job: found a list of 1; expected one of the kinds of job: predict"),
            ("inputs.uri=x", "inputs: found an unknown key (did you mean 'input'?); expected one of job, name, output"),
            ("model.crop_px=3", "model.crop_px: found an unknown key ('crop_px' belongs under preprocess)"),
            ("task.name=x", "task.name: found an unknown key ('name' belongs at the top level)"),
            ("task.batchsize=3", "task.batchsize: found an unknown key (did you mean 'batch_size' under compute?)"),
            ("task.xyzzy=3", "task.xyzzy: found an unknown key; expected one of type, multi_label"),
        ],
    )
    def test_what_is_wrong_is_said_in_plain_words(self, load: Load, override: str, line: str) -> None:
        assert line in str(only_problem(load, GOOD, override))

    def test_missing_sections_are_all_named(self, load: Load) -> None:
        places = {problem.where for problem in problems_of(load, "job: predict\n")}
        assert places == {"input", "model", "output"}

    def test_only_a_trained_model_brings_its_task(self, load: Load) -> None:
        problem = only_problem(load, GOOD.replace("task: {type: classification}\n", ""))
        assert str(problem) == "task: found nothing; expected what a prediction means, as {type: classification}"

    def test_all_typos_at_once(self, load: Load) -> None:
        text = with_lines("compute: {layout: fast, batchsize: 3}", "limit: {max_pixels: 3}")
        places = {problem.where for problem in problems_of(load, text)}
        assert places == {"compute.layout", "compute.batchsize", "limit"}

    def test_options_of_a_model_may_be_anything(self, load: Load) -> None:
        options = load(GOOD, "model.options={a: true, b: [1, null]}").settings.model.options
        assert options == {"a": True, "b": [1, None]}


def test_the_spec_of_a_relative_path_knows_its_absolute_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.yaml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    assert load_spec("job.yaml").folder == Path(os.getcwd())
