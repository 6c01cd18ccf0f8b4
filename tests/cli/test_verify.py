"""The `verify` command: the verdict as an exit code, a line for each problem, and the names of its JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ledger.outputs import Output, new_output
from vision_batch.cli.main import main
from vision_batch.ledger.state import write_manifest

PROMISED = {"ok", "images", "rows", "missing", "duplicated", "parts", "problems"}

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """Ten images in three parts, as a finished run leaves it."""
    output = new_output(tmp_path)
    output.run()
    write_manifest(output.paths, output.look())
    return output


def part(output: Output, number: int) -> Path:
    return Path(output.paths.part(f"files-{number:06d}", 0))


def problem_lines(shown: str) -> list[str]:
    return [line.removeprefix("  problem     ") for line in shown.splitlines() if line.startswith("  problem ")]


@pytest.mark.parametrize("options", [[], ["--deep"]])
def test_a_good_output(output: Output, capsys: Capture, options: list[str]) -> None:
    assert main(["verify", output.paths.output, *options]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok: 10 images in 10 rows of 3 parts",
        "  missing     0 images; 0 rows twice",
    ]


def test_json_has_the_promised_names_and_is_all_of_standard_output(output: Output, capsys: Capture) -> None:
    assert main(["verify", output.paths.output, "--json"]) == 0
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    report = json.loads(line)
    assert report.keys() >= PROMISED
    assert {name: report[name] for name in PROMISED} == {
        "ok": True,
        "images": 10,
        "rows": 10,
        "missing": 0,
        "duplicated": 0,
        "parts": 3,
        "problems": [],
    }
    assert captured.err.startswith("ok: 10 images")


def test_a_relative_path_is_taken_from_here(
    output: Output, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", "out/"]) == 0


def test_a_deleted_part(output: Output, capsys: Capture) -> None:
    part(output, 2).unlink()
    assert main(["verify", output.paths.output, "--json"]) == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["ok"], report["images"], report["missing"], report["parts"]) == (False, 6, 4, 2)
    assert captured.err.startswith("NOT OK: 6 images in 6 rows of 2 parts\n  missing     4 images;")
    assert problem_lines(captured.err) == report["problems"]
    assert any("files-000002" in problem for problem in report["problems"])


def test_a_damaged_part_is_named(output: Output, capsys: Capture) -> None:
    part(output, 3).write_bytes(part(output, 3).read_bytes()[:200])
    assert main(["verify", output.paths.output]) == 1
    lines = problem_lines(capsys.readouterr().out)
    assert any(str(part(output, 3)) in line for line in lines)


def test_every_problem_is_a_line(output: Output, capsys: Capture) -> None:
    part(output, 1).unlink()
    Path(output.paths.definition).unlink()
    (Path(output.paths.output) / "foreign.parquet").write_bytes(b"PAR1")
    assert main(["verify", output.paths.output]) == 1
    lines = "\n".join(problem_lines(capsys.readouterr().out))
    for what in ("files-000001", "no definition", "foreign.parquet"):
        assert what in lines


def test_a_flipped_bit_needs_a_deep_look(output: Output) -> None:
    data = bytearray(part(output, 1).read_bytes())
    data[60] ^= 1
    part(output, 1).write_bytes(data)
    assert main(["verify", output.paths.output]) == 0
    assert main(["verify", output.paths.output, "--deep"]) == 1


def test_a_repair_says_what_it_did_and_what_remains(output: Output, capsys: Capture) -> None:
    cut, copy = part(output, 1), Path(output.paths.output) / "copy.parquet"
    cut.write_bytes(cut.read_bytes()[:-1])
    copy.write_bytes(part(output, 2).read_bytes())
    assert main(["verify", output.paths.output, "--repair", "--json"]) == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    removed, aside = report["repaired"]
    assert removed == f"removed {copy}: it doubles the rows of {part(output, 2).name}, which is there and intact"
    assert aside.startswith(f"set aside {cut}: not a whole Parquet file: its end is missing; it is ")
    assert captured.err.startswith(f"repaired: {removed}\nrepaired: {aside}\nNOT OK: 6 images in 6 rows of 2 parts\n")
    output.run()
    assert main(["verify", output.paths.output, "--repair"]) == 0
    assert "repaired" not in capsys.readouterr().out


def test_a_warning_is_no_failure(output: Output, tmp_path: Path, capsys: Capture) -> None:
    for picture in (tmp_path / "in").iterdir():
        picture.unlink()
    (tmp_path / "in" / "new.jpg").write_bytes(b"new")
    output.run()
    capsys.readouterr()
    code = main(["verify", output.paths.output, "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (code, report["ok"]) == (0, True), report


@pytest.mark.parametrize("where", ["nowhere", "in", "in/00000.jpg"])
def test_a_path_that_is_no_output(output: Output, tmp_path: Path, capsys: Capture, where: str) -> None:
    assert main(["verify", str(tmp_path / where)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: output: found nothing at {tmp_path / where}")
    assert captured.err.count("\n") == 1


def test_a_path_that_is_no_output_as_json(tmp_path: Path, capsys: Capture) -> None:
    assert main(["verify", str(tmp_path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["problems"][0]["where"] == "output"


def test_looking_changes_nothing(output: Output, tmp_path: Path) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}

    before = state()
    assert main(["verify", output.paths.output, "--deep"]) == 0
    assert state() == before
