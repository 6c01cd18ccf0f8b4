"""`vision-batch schedule export`: the schedules of specs for cron or systemd, on a machine without a server of ours."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.cluster.schedule.crontab import crontab
from vision_batch.cluster.schedule.exported import ExportedSchedule
from vision_batch.cluster.schedule.systemd import concatenated, units
from vision_batch.errors import Problem, SpecError
from vision_batch.jobs.spec import load_spec

FORMATS: dict[str, Callable[[Sequence[ExportedSchedule]], dict[str, str]]] = {
    "crontab": lambda schedules: {"crontab": crontab(schedules)},
    "systemd": units,
}
"""To files, by their names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SPEC… --to FORMAT [--directory DIR] [--json]."""
    parser.add_argument("specs", metavar="SPEC", nargs="+", type=Path, help="specs with a `schedule:` block")
    parser.add_argument("--to", choices=FORMATS, required=True, help="for what: %(choices)s")
    parser.add_argument("--directory", metavar="DIR", type=Path, help="write the files there instead of printing them")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def execute(arguments: argparse.Namespace) -> int:
    """Prints or writes the files."""
    schedules = [_exported(path) for path in arguments.specs]
    _demand_own_names(schedules)
    files = FORMATS[arguments.to](schedules)
    if arguments.directory is not None:
        _write(arguments.directory, files)
    elif arguments.to == "systemd":
        print(concatenated(files), end="")
    else:
        print(*files.values(), sep="", end="")
    if arguments.json:
        emit_json({"files": files})
    return ExitCode.DONE


def _exported(path: Path) -> ExportedSchedule:
    spec = load_spec(path, for_any_time=True)
    if spec.settings.schedule is None:
        raise SpecError(Problem(f"{path}: schedule", "nothing", "a section that says when to run, with the key cron"))
    return ExportedSchedule(name=spec.settings.name, spec=path.absolute(), settings=spec.settings.schedule)


def _demand_own_names(schedules: Sequence[ExportedSchedule]) -> None:
    specs: dict[str, Path] = {}
    for schedule in schedules:
        other = specs.setdefault(schedule.name, schedule.spec)
        if other != schedule.spec:
            found = f"{schedule.name!r}, as in {other}"
            raise SpecError(Problem(f"{schedule.spec}: name", found, "a name of its own for each spec"))


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        try:
            (folder / name).write_text(text)
        except OSError as error:
            raise SpecError(
                Problem("--directory", f"{folder / name}: {error.strerror}", "a folder to write to")
            ) from error
        print(f"wrote {folder / name}")
