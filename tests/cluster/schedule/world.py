"""A world for the schedule server: a clock, a cluster and a folder of specs that a test has in its hands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vision_batch.cluster.job import JobInfo, meaning_of_exit, state_of_exit
from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.schedule.folder import ScheduledSpec, SpecFolder
from vision_batch.cluster.schedule.leader import Leadership
from vision_batch.cluster.schedule.run import Notice, ScheduledRun
from vision_batch.cluster.schedule.server import Server
from vision_batch.cluster.schedule.settings import ScheduleSettings
from vision_batch.cluster.schedule.store import Store
from vision_batch.documents.document import read_document
from vision_batch.documents.validation import validate_settings
from vision_batch.errors import ClusterError
from vision_batch.ledger.holder import Holder

BEGIN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Crash(BaseException):
    """kill -9."""


@dataclass
class Fuse:
    """Burns down with each step; at its end the server is killed."""

    left: int | None = None

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Crash


class FusedStore(Store):
    """May be killed before and after each transaction. (It need not survive power cuts.)"""

    def __init__(self, path: Path, fuse: Fuse) -> None:
        self.fuse = fuse
        super().__init__(path)
        self._rows("PRAGMA synchronous = OFF")

    @contextmanager
    def transaction(self, token: int | None = None) -> Iterator[None]:
        self.fuse.step()
        with super().transaction(token):
            yield
        self.fuse.step()


@dataclass
class Job:
    info: JobInfo
    begun: datetime
    ends: datetime
    exit_code: int


@dataclass
class FakeJobs:
    """A cluster. `course` says of a job how long it takes and its exit code; it ends in order when it is stopped."""

    now: Callable[[], datetime]
    fuse: Fuse
    course: Callable[[str], tuple[timedelta, int]] = lambda job_id: (timedelta(minutes=5), 0)
    jobs: dict[str, Job] = field(default_factory=dict)
    packages: dict[str, JobPackage] = field(default_factory=dict)
    stops: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    is_down: bool = False

    def submit(self, package: JobPackage, job_id: str) -> None:
        self._answer()
        if job_id not in self.jobs:
            assert not [job for job in self.list() if job.state == "running" and job.name == package.name]
            length, code = self.course(job_id)
            info = JobInfo(
                job_id=job_id,
                name=package.name,
                state="running",
                exit_code=None,
                message="",
                submitted=self.now(),
                ended=None,
                output=package.output,
            )
            self.jobs[job_id] = Job(info=info, begun=self.now(), ends=self.now() + length, exit_code=code)
            self.packages[job_id] = package
        self.fuse.step()

    def list(self) -> list[JobInfo]:
        self._answer()
        return [self._seen(job) for job in self.jobs.values()]

    def info(self, job_id: str) -> JobInfo:
        self._answer()
        if job_id not in self.jobs:
            raise ClusterError(f"no job {job_id}")
        return self._seen(self.jobs[job_id])

    def logs(self, job_id: str, *, follow: bool) -> Iterator[str]:
        self._answer()
        return iter(self.log)

    def stop(self, job_id: str) -> None:
        self._answer()
        self.stops.append(job_id)
        job = self.jobs[job_id]
        if job.ends > self.now() + timedelta(seconds=20):
            job.ends, job.exit_code = self.now() + timedelta(seconds=20), 130
        self.fuse.step()

    def forget(self, job_id: str) -> None:
        del self.jobs[job_id]

    def _seen(self, job: Job) -> JobInfo:
        if self.now() < job.ends:
            return job.info
        return replace(
            job.info,
            state=state_of_exit(job.exit_code, asked=job.info.job_id in self.stops),
            exit_code=job.exit_code,
            message=meaning_of_exit(job.exit_code),
            ended=job.ends,
        )

    def _answer(self) -> None:
        self.fuse.step()
        if self.is_down:
            raise ClusterError("nothing answers")


def read_spec(path: Path) -> ScheduledSpec | None:
    """A spec of tests: a name, and perhaps a schedule."""
    document = read_document(path, expected="a spec")
    if "schedule" not in document:
        return None
    settings = validate_settings(ScheduleSettings, document["schedule"], what="the schedule")
    name = document["name"]
    package = JobPackage(name=name, files={"spec.yaml": path.read_bytes()}, arguments=("run", "spec.yaml"), output="o")
    return ScheduledSpec(path=str(path), name=name, settings=settings, package=package)


class World:
    """One server on one state, and what it deals with; `restart` kills it and starts another."""

    def __init__(self, folder: Path) -> None:
        self.time = BEGIN
        self.fuse = Fuse()
        self.jobs = FakeJobs(now=self.now, fuse=self.fuse)
        self.specs = folder / "specs"
        self.specs.mkdir()
        self.state = folder / "state.sqlite"
        self.told: list[ScheduledRun] = []
        self.pid = 0
        self.restart()

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def restart(self) -> None:
        if self.pid:
            self.store.close()
        self.pid += 1
        self.store = FusedStore(self.state, self.fuse)
        holder = Holder(host="here", boot="b", pid_namespace="n", pid=self.pid, ticks=1)
        leadership = Leadership(self.store, holder, serves=str(self.specs), alive=lambda other: other == holder)
        self.server = Server(
            store=self.store,
            leadership=leadership,
            folder=SpecFolder(self.specs, read_spec),
            service=self.jobs,
            clock=self,
            notify=self.tell,
        )

    def tell(self, run: ScheduledRun) -> Notice:
        self.fuse.step()
        self.told.append(run)
        return "given"

    def spec(
        self, cron: str = "0 * * * *", name: str = "nightly", file: str = "nightly.yaml", **settings: object
    ) -> None:
        lines = [f"name: {name}", "schedule:", f"  cron: '{cron}'"]
        lines += [f"  {key}: {value}" for key, value in settings.items()]
        (self.specs / file).write_text("\n".join(lines))

    def tick(self, minutes: float = 0) -> None:
        """One tick, so many minutes later."""
        self.time += timedelta(minutes=minutes)
        assert self.server.tick()

    def run_for(self, hours: float, *, every_minutes: float = 1) -> None:
        for _ in range(round(hours * 60 / every_minutes)):
            self.tick(every_minutes)

    def story(self) -> list[str]:
        """The runs, the earliest first: `13:00 done`."""
        return [f"{run.scheduled_time:%H:%M} {run.state}" for run in reversed(self.store.history())]

    def runs(self) -> list[ScheduledRun]:
        return self.store.history()[::-1]
