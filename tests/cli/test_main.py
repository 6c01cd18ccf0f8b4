"""The dispatcher: which command, which exit code, what is said where."""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from vision_batch import __version__
from vision_batch.cli.main import COMMANDS, main
from vision_batch.cli.output import emit_json
from vision_batch.errors import (
    DefinitionError,
    HeldError,
    ModelError,
    NotFoundError,
    Problem,
    SpecError,
    VisionBatchError,
)

Execute = Callable[[argparse.Namespace], int]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, level = logging.getLogger(), logging.getLogger("vision_batch").level
    handlers = list(root.handlers)
    yield
    root.handlers[:] = handlers
    logging.getLogger("vision_batch").setLevel(level)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Execute], None]:
    """Puts a command called `probe`, which takes --json and --count, into the table."""

    def install(execute: Execute) -> None:
        module = ModuleType("vision_batch.cli.probe")
        module.SUMMARY = "probe the dispatcher"  # type: ignore[attr-defined]
        module.execute = execute  # type: ignore[attr-defined]
        module.add_arguments = _add_arguments  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "vision_batch.cli.probe", module)
        monkeypatch.setitem(COMMANDS, "probe", "probe the dispatcher")

    return install


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--count", type=int, default=0)


def raising(error: BaseException) -> Execute:
    def execute(arguments: argparse.Namespace) -> int:
        raise error

    return execute


def test_help_lists_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert f"  {name} " in shown
        assert summary in shown


def test_no_command_is_wrong_and_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vision-batch {__version__}\n"


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verfiy", "x"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: command: found 'verfiy' (did you mean 'verify'?); expected one of run"
    )


def test_an_unknown_option_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--colour"]) == 2
    assert capsys.readouterr().err == (
        "error: command line: found unrecognized arguments: --colour; expected what 'vision-batch --help' lists\n"
    )


def test_a_command_gets_its_arguments_and_gives_the_exit_code(command: Callable[[Execute], None]) -> None:
    command(lambda arguments: arguments.count)
    assert main(["probe", "--count", "3"]) == 3


def test_a_command_has_help_of_its_own(command: Callable[[Execute], None], capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda arguments: 0)
    assert main(["probe", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "usage: vision-batch probe" in shown
    assert "Probe the dispatcher." in shown
    assert "--count" in shown


@pytest.mark.parametrize("arguments", [["--count", "many"], ["--cuont", "1"], ["--coun", "1"], ["extra"]])
def test_wrong_arguments_are_one_line(
    command: Callable[[Execute], None], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    command(lambda arguments: 0)
    assert main(["probe", *arguments]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: command line: found ")
    assert shown.endswith("expected what 'vision-batch probe --help' lists\n")
    assert shown.count("\n") == 1


@pytest.mark.parametrize("arguments", [["-v", "probe"], ["probe", "-v"], ["probe", "--verbose"]])
def test_verbose_stands_before_or_after_the_command(command: Callable[[Execute], None], arguments: list[str]) -> None:
    command(lambda arguments: int(arguments.verbose and logging.getLogger("vision_batch").isEnabledFor(logging.DEBUG)))
    assert main(arguments) == 1


def test_every_problem_of_a_spec_is_a_line(
    command: Callable[[Execute], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(SpecError([Problem("a.b", "1", "2"), Problem("c", "two\nlines", "one")])))
    assert main(["probe"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: a.b: found 1; expected 2\nerror: c: found two lines; expected one\n"


def test_another_definition_is_a_table(command: Callable[[Execute], None], capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(DefinitionError([Problem("preprocess.crop_px", "96", "224"), Problem("weights", "f00", "ba4")])))
    assert main(["probe"]) == 2
    first, *table = capsys.readouterr().err.splitlines()
    assert first.startswith("error: the output belongs to another definition")
    assert table == [
        "  what                found  expected",
        "  preprocess.crop_px  96     224",
        "  weights             f00    ba4",
    ]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (HeldError("pid 7 on box holds /out"), 5, "error: pid 7 on box holds /out"),
        (NotFoundError("s3://b/x", "no such object"), 1, "error: s3://b/x: no such object"),
        (ModelError("12 logits\nfor 10 labels"), 1, "error: 12 logits for 10 labels"),
        (VisionBatchError("stopped"), 1, "error: stopped"),
        (ZeroDivisionError("by 0"), 1, "error: unexpected ZeroDivisionError: by 0; run with --verbose to see where"),
        (AssertionError(), 1, "error: unexpected AssertionError; run with --verbose to see where"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    command: Callable[[Execute], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    line: str,
) -> None:
    command(raising(error))
    assert main(["probe"]) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_verbose_shows_where_an_error_was_raised(
    command: Callable[[Execute], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(ZeroDivisionError("by 0")))
    assert main(["probe", "--verbose"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "in execute" in shown


def test_with_json_only_the_object_is_on_standard_output(
    command: Callable[[Execute], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def execute(arguments: argparse.Namespace) -> int:
        print("halfway there")
        emit_json({"done": 3})
        return 0

    command(execute)
    assert main(["probe", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out == '{"done": 3}\n'
    assert captured.err == "halfway there\n"
    assert main(["probe"]) == 0
    assert capsys.readouterr().out.startswith("halfway there\n")


def test_with_json_a_failure_is_an_object_too(
    command: Callable[[Execute], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(SpecError(Problem("a", "1", "2"))))
    assert main(["probe", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1]) == {
        "status": "failed",
        "exit_code": 2,
        "error": "a: found 1; expected 2",
        "problems": [{"where": "a", "found": "1", "expected": "2"}],
    }
    assert captured.err == "error: a: found 1; expected 2\n"


def test_with_json_a_wrong_option_is_an_object_too(
    command: Callable[[Execute], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda arguments: 0)
    assert main(["probe", "--json", "--cuont"]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2


@pytest.mark.parametrize("unbuffered", [[], ["-u"]])
def test_a_reader_that_leaves_is_no_traceback(unbuffered: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, *unbuffered, "-m", "vision_batch", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(30) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


def test_names_that_cannot_be_printed_do_not_stop_a_command() -> None:
    code = "from vision_batch.cli.main import main; import sys; sys.exit(main([sys.argv[1]]))"
    done = subprocess.run(
        [sys.executable, "-c", code, b"\xff-\xc3\xa9"],
        env={"PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: command: found ")
