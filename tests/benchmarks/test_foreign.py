import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.benchmarks import foreign

WAIT = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def child() -> Iterator[int]:
    with subprocess.Popen(WAIT) as process:
        yield process.pid
        process.kill()


def test_own_children_are_not_foreign_and_others_are(child: int) -> None:
    found = foreign.foreign_ticks()
    assert child not in found
    assert 1 in found, "the first process is nobody's child"


def test_the_threads_of_the_kernel_are_nobodys_work() -> None:
    assert foreign.foreign_ticks().keys().isdisjoint({2, 3})


def test_foreign_work_is_a_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([{7: 100}, {7: 150, 8: 50}, {8: 60}])
    monkeypatch.setattr(foreign, "foreign_ticks", lambda: next(seen, {}))
    monkeypatch.setattr(foreign, "LOOK_EVERY_S", 0.01)
    with foreign.ForeignWork() as others:
        while others.cpu_s * foreign.TICKS < 110:
            time.sleep(0.005)
    assert others.cpu_s * foreign.TICKS == pytest.approx(110)
    assert others.share > 0
