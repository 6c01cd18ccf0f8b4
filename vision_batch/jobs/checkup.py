"""Is everything there that a spec names? Its input, its output, its model, and the credentials for them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from vision_batch.cluster.checkup import check_free_disk
from vision_batch.cluster.finding import Finding, fail, ok, warn
from vision_batch.datasets.detect import detect_format
from vision_batch.datasets.listing import list_input
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import ChangedError, ExistsError, SpecError, VisionBatchError
from vision_batch.jobs.agreement import agreed_preprocess, agreed_task
from vision_batch.jobs.settings import EvaluateJobSettings, ImageJobSettings, JobSettings
from vision_batch.jobs.spec import AnySpec, load_spec, spec_of_kind
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.models.bundle import resolve_model
from vision_batch.storage.storage import Storage
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, scheme

PROBE = b"written by vision-batch doctor, which failed to delete it\n"
OTHER_ETAG = "0" * 32
"""Of no object that doctor writes."""


def check_spec(path: str, overrides: Sequence[str], address: str | None = None) -> Iterator[Finding]:
    """The spec at `path`, then all that it names; its storage as a worker of the Ray at `address` sees it, or here."""
    try:
        spec = load_spec(path, overrides)
    except SpecError as error:
        yield from (fail("spec", str(problem), "correct the spec") for problem in error.problems)
        return
    yield ok("spec", f"{spec.path}: the {spec.settings.job} job {spec.settings.name}")
    if address is None:
        yield from check_storage(spec)
    else:
        from vision_batch.cluster.node_checkup import check_on_a_worker

        yield from check_on_a_worker(address, partial(check_storage, spec))
    if isinstance(spec.settings, ImageJobSettings):
        yield check_model(spec)


def check_storage(spec: AnySpec) -> list[Finding]:
    """Input and output, with the credentials for them, as the process sees them that calls this."""
    credentials = [check_credentials()] if any(scheme(uri) == "s3" for uri in _uris(spec)) else []
    return [*credentials, *_check_read(spec.settings), *check_output(spec.settings.output.uri)]


def _check_read(settings: JobSettings) -> Iterator[Finding]:
    if isinstance(settings, ImageJobSettings):
        for section, images in settings.sections.items():
            yield from check_input(images, section)
    if isinstance(settings, EvaluateJobSettings):
        yield from check_evaluation(settings)


def check_evaluation(settings: EvaluateJobSettings) -> Iterator[Finding]:
    """Predictions and truth are there, and of columns that go together; no row is read."""
    from vision_batch.jobs.evaluate import opened

    try:
        predictions, truth = opened(settings)
    except VisionBatchError as error:
        yield fail("predictions", _one_line(error), "check predictions.uri and truth")
        return
    yield ok("predictions", f"{predictions.uri}: {predictions.kind} in {len(predictions.table.files):,} files")
    yield ok("truth", "their own" if truth is None else truth.uri)


def check_credentials() -> Finding:
    """botocore finds credentials; their values are never shown, only where they come from."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        session = botocore.session.Session()
        credentials = session.get_credentials()
        region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or "no region"
    except BotoCoreError as error:
        return fail("s3 credentials", _one_line(error), "correct AWS_PROFILE or the file that it names")
    place = f"{region}, {_endpoint()}"
    if credentials is None:
        return warn(
            "s3 credentials", f"none; {place}", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    return ok("s3 credentials", f"found by {credentials.method}; {place}")


def check_input(settings: InputSettings, section: str = "input") -> Iterator[Finding]:
    """Every input that a section of the spec names can be listed, and its format is known."""
    listed = True
    for entry in settings.inputs:
        try:
            first = next(iter(islice(list_input(entry.uri, settings.format), 1)), None)
        except VisionBatchError as error:
            listed = False
            mend = f"check {section}.uri, and that the credentials may list and read it"
            yield fail(section, _one_line(error), mend)
        else:
            yield ok(section, f"{first.uri} is there") if first else warn(section, f"{entry.uri} is empty", "fill it")
    if not listed:
        return
    try:
        yield ok(f"{section} format", detect_format(settings))
    except VisionBatchError as error:
        yield fail(f"{section} format", _one_line(error), f"check {section}.uri and input.format")


def check_output(uri: str) -> Iterator[Finding]:
    """The output can be written with `if absent`, on which exactly-once rests, and over a version; nothing stays."""
    if scheme(uri):
        folder = LedgerPaths(uri).scratch
    else:
        place = _existing(Path(uri))
        yield check_free_disk("output disk", place)
        folder = str(place)
    probe = join(folder, f".vision-batch-doctor-{uuid.uuid4().hex}")
    try:
        yield _try_writing(storage_for(uri), probe, uri)
    except VisionBatchError as error:
        yield fail("output", _one_line(error), "check output.uri, and that the credentials may write and delete there")


def check_model(spec: AnySpec) -> Finding:
    """The model's files and plug-ins are there; nothing is loaded."""
    settings = spec_of_kind(spec, ImageJobSettings).settings
    try:
        bundle = resolve_model(
            settings.model,
            spec.folder,
            task=None if settings.task is None else settings.task.asked,
            pooling="auto" if settings.task is None else settings.task.pooling,
            read_preprocess=settings.preprocess is None,
            for_training=settings.job == "train",
        )
        agreed_task(settings, bundle)
        agreed_preprocess(settings, bundle, spec.folder)
    except VisionBatchError as error:
        return fail("model", _one_line(error), "check the model section and the files beside the spec")
    labels = f"{len(bundle.labels)} labels" if bundle.labels is not None else "no labels"
    return ok("model", f"{settings.model.source}, {labels}")


def _try_writing(storage: Storage, probe: str, output: str) -> Finding:
    """Writes the probe, and then under conditions: that it is absent, another version, the present one."""
    written = storage.put(probe, PROBE, if_absent=True)
    try:
        if _is_put(storage, probe, if_absent=True):
            return fail(
                "output",
                f"{output}: the server overwrote an object although the request said If-None-Match: *",
                "use a server or version that honours conditional PUT: without it two runs could write one part",
            )
        if _is_put(storage, probe, if_version=OTHER_ETAG):
            return warn(
                "output",
                f"{output}: the server overwrote an object although the request said If-Match with another ETag",
                "use a server or version that honours conditional PUT: without it a process left behind by a dead run "
                "may put an older part over a newer one where input changes; `vision-batch verify` would name it",
            )
        if not _is_put(storage, probe, if_version=written.version):
            return warn(
                "output",
                f"{output}: the server refused to overwrite an object under If-Match, though its ETag was given",
                "use a server or version that honours conditional PUT: without it changed input is replaced in two "
                "steps, and its rows are absent for a moment",
            )
    finally:
        storage.delete(probe)
    return ok("output", f"{output} can be written, and refuses to overwrite what must be absent or another version")


def _is_put(storage: Storage, probe: str, *, if_absent: bool = False, if_version: str | None = None) -> bool:
    """Whether the storage writes the probe under this condition."""
    try:
        storage.put(probe, PROBE, if_absent=if_absent, if_version=if_version)
    except (ExistsError, ChangedError):
        return False
    return True


def _uris(spec: AnySpec) -> list[str]:
    return [spec.settings.output.uri, *spec.settings.read_uris]


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _endpoint() -> str:
    """The host that S3 requests go to; what else an endpoint's URL may hold is not shown."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return "Amazon's endpoint"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
