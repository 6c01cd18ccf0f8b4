"""`schedule export` prints or writes what cron and systemd read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from vision_batch.cli.main import main

Capture = pytest.CaptureFixture[str]


def write_spec(folder: Path, file: str, **more: object) -> Path:
    """A spec that is called like its file; keys that are None are left out."""
    document = {
        "job": "predict",
        "name": file,
        "input": {"uri": "data/"},
        "model": {"source": "python:model_code:build"},
        "task": {"type": "classification"},
        "preprocess": {"resize_px": [28, 28]},
        "output": {"uri": "out/{date}"},
        "schedule": {"cron": "30 3 * * *", "timezone": "Europe/Berlin"},
    }
    path = folder / f"{file}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (document | more).items() if value is not None}))
    return path


def test_a_crontab_is_printed(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write_spec(tmp_path, "nightly")
    monkeypatch.chdir(tmp_path)
    assert main(["schedule", "export", "nightly.yaml", "--to", "crontab"]) == 0
    printed = capsys.readouterr().out
    assert "CRON_TZ=Europe/Berlin\n" in printed
    assert f" -P -m vision_batch run {spec} --scheduled-time latest " in printed


def test_units_are_printed_below_their_names_or_written_to_a_folder(tmp_path: Path, capsys: Capture) -> None:
    specs = [str(write_spec(tmp_path, name)) for name in ("a", "b")]
    assert main(["schedule", "export", *specs, "--to", "systemd"]) == 0
    printed = capsys.readouterr().out
    assert main(["schedule", "export", *specs, "--to", "systemd", "--directory", str(tmp_path), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert sorted(files) == [f"vision-batch-{name}.{kind}" for name in "ab" for kind in ("service", "timer")]
    for name, text in files.items():
        assert (tmp_path / name).read_text() == text
        assert f"/{name}\n{text}" in printed


@pytest.mark.parametrize(
    ("names", "more", "options", "said"),
    [
        (["a"], {"schedule": None}, [], "a.yaml: schedule: found nothing"),
        (["a", "b"], {"name": "same"}, [], "b.yaml: name: found 'same', as in "),
        (["a"], {"schedule": {"cron": "30 25 * * *"}}, [], "schedule.cron"),
        (["a"], {}, ["--directory", "/nowhere/at/all"], "--directory: found /nowhere/at/all"),
    ],
)
def test_what_cannot_be_exported_is_said(
    tmp_path: Path, capsys: Capture, names: list[str], more: dict[str, object], options: list[str], said: str
) -> None:
    specs = [str(write_spec(tmp_path, name, **more)) for name in names]
    assert main(["schedule", "export", *specs, "--to", "systemd", *options]) == 2
    assert said in capsys.readouterr().err
