"""`vision-batch manifest`: what to apply so that Kubernetes runs a job, once or by the spec's schedule."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from vision_batch.cli.cluster_job import PROFILE_HELP
from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import warn
from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.cluster.manifest import job_manifests
from vision_batch.cluster.profile import LoadedProfile, load_profile
from vision_batch.errors import Problem, SpecError
from vision_batch.jobs.package import job_package
from vision_batch.jobs.spec import load_spec

SUMMARY = "print what to apply so that Kubernetes runs a job, by its schedule if it has one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", help="the job's YAML file")
    parser.add_argument("--cluster", metavar="PROFILE", required=True, help=f"{PROFILE_HELP}; of kind kuberay")
    parser.add_argument(
        "-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override a key of the spec"
    )
    parser.add_argument("--once", action="store_true", help="one job, now, although the spec has a schedule")
    parser.add_argument("--ray-cron-job", action="store_true", help="KubeRay's own RayCronJob, an alpha, not a CronJob")
    parser.add_argument("--to", metavar="FILE", type=Path, help="write there instead of to standard output")


def execute(arguments: argparse.Namespace) -> int:
    profile = load_profile(arguments.cluster)
    text = manifest_text(arguments, profile)
    if arguments.to is None:
        print(text, end="")
    else:
        arguments.to.write_text(text, encoding="utf-8")
    return ExitCode.DONE


def manifest_text(arguments: argparse.Namespace, profile: LoadedProfile) -> str:
    """YAML, one document an object. SpecError."""
    settings = profile.settings
    if not isinstance(settings, KubeRayProfile):
        found, expected = f"{profile.path}, of kind {settings.kind}", "a profile of kind kuberay"
        raise SpecError(Problem("--cluster", found, expected))
    spec = load_spec(arguments.spec, arguments.overrides, for_any_time=not arguments.once)
    schedule = None if arguments.once else spec.settings.schedule
    if schedule is None:
        if arguments.ray_cron_job:
            raise SpecError(Problem("schedule", "nothing", "a schedule, for --ray-cron-job"))
        spec = load_spec(arguments.spec, arguments.overrides)
        objects = job_manifests(settings, job_package(spec, profile))
    else:
        from vision_batch.cluster.kuberay_cron import cron_job_manifests, ray_cron_job_manifests

        if schedule.on_failure:
            warn(f"on_failure is not done: Kubernetes tells nobody of {schedule.on_failure}")
        make = ray_cron_job_manifests if arguments.ray_cron_job else cron_job_manifests
        objects = make(settings, job_package(spec, profile), schedule)
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such; nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
