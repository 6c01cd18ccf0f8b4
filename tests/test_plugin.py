"""Plug-ins: found beside a spec, digested, carried and imported as source text."""

from __future__ import annotations

import ast
import inspect
import linecache
import pickle
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

import vision_batch
from vision_batch.errors import SpecError
from vision_batch.plugin import RESERVED, Plugin, find_plugin


@pytest.fixture(autouse=True)
def _unchanged_modules() -> Iterator[None]:
    before = dict(sys.modules)
    yield
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]
    linecache.clearcache()


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__in__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


def plugin(folder: Path, name: str) -> Plugin:
    return find_plugin(name, folder, where="model.source")


def paths(found: Plugin) -> list[str]:
    return [path for path, _ in found.sources]


def test_the_attribute_of_a_module_beside_the_spec(tmp_path: Path) -> None:
    write(tmp_path, vb_one="def build(n): return n + 1")
    assert plugin(tmp_path, "vb_one:build").load()(41) == 42


def test_it_works_where_the_folder_is_not(tmp_path: Path) -> None:
    write(tmp_path, vb_far="from vb_far_sibling import SIX\ndef build(): return SIX * 7", vb_far_sibling="SIX = 6")
    carried = pickle.dumps(plugin(tmp_path, "vb_far:build"))
    for path in tmp_path.glob("*.py"):
        path.unlink()
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).load()())"
    done = subprocess.run([sys.executable, "-c", code], input=carried, capture_output=True, check=True)
    assert done.stdout.split() == [b"42"]


class TestWhatTravels:
    def test_siblings_and_what_they_import_but_nothing_else(self, tmp_path: Path) -> None:
        write(tmp_path, vb_a="import os, vb_b\ndef f(): import vb_d", vb_b="from vb_c import x", vb_c="x = 1")
        write(tmp_path, vb_d="", vb_unused="raise SystemExit")
        assert paths(plugin(tmp_path, "vb_a:f")) == ["vb_a.py", "vb_b.py", "vb_c.py", "vb_d.py"]

    def test_relative_imports_inside_packages(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            vb_pack__in____init__="from .parts import wheel",
            vb_pack__in__model="from . import parts\nfrom .deep.er import y\ndef build(): return parts.wheel + y",
            vb_pack__in__parts="wheel = 1",
            vb_pack__in__deep__in____init__="",
            vb_pack__in__deep__in__er="from ..parts import wheel\nfrom ... import nowhere_above\ny = wheel + 1",
        )
        (tmp_path / "vb_pack/deep/er.py").write_text("from ..parts import wheel\ny = wheel + 1")
        found = plugin(tmp_path, "vb_pack.model:build")
        assert paths(found) == [
            "vb_pack/__init__.py",
            "vb_pack/deep/__init__.py",
            "vb_pack/deep/er.py",
            "vb_pack/model.py",
            "vb_pack/parts.py",
        ]
        assert found.load()() == 3

    def test_a_folder_needs_no_init_file(self, tmp_path: Path) -> None:
        write(tmp_path, vb_bare__in__model="from .parts import wheel\ndef build(): return wheel")
        write(tmp_path, vb_bare__in__parts="wheel = 4")
        assert plugin(tmp_path, "vb_bare.model:build").load()() == 4

    def test_modules_that_import_each_other(self, tmp_path: Path) -> None:
        write(tmp_path, vb_x="import vb_y\ndef f(): return vb_y.g()", vb_y="import vb_x\ndef g(): return 5")
        assert plugin(tmp_path, "vb_x:f").load()() == 5

    def test_a_file_never_replaces_a_module_of_the_standard_library(self, tmp_path: Path) -> None:
        write(tmp_path, vb_m="import random\ndef f(): return random.Random(0)", random="raise SystemExit")
        found = plugin(tmp_path, "vb_m:f")
        assert paths(found) == ["vb_m.py"]
        assert found.load()().random() < 1
        with pytest.raises(SpecError, match="name of an installed module"):
            plugin(tmp_path, "random:f")


class TestDigest:
    def test_it_changes_with_any_file(self, tmp_path: Path) -> None:
        write(tmp_path, vb_a="import vb_b\ndef f(): ...", vb_b="x = 1")
        before = plugin(tmp_path, "vb_a:f").digest
        assert plugin(tmp_path, "vb_a:f").digest == before
        write(tmp_path, vb_b="x = 2")
        assert plugin(tmp_path, "vb_a:f").digest != before

    def test_it_does_not_change_with_the_place(self, tmp_path: Path) -> None:
        here, there = (write(tmp_path / name, vb_a="def f(): ...") for name in ("here", "there"))
        assert plugin(here, "vb_a:f") == plugin(there, "vb_a:f")


class TestLoadingAnotherVersion:
    def test_the_new_text_is_imported_and_so_is_what_imports_it(self, tmp_path: Path) -> None:
        write(tmp_path, vb_a="from vb_b import x\ndef f(): return x", vb_b="x = 1")
        old = plugin(tmp_path, "vb_a:f")
        write(tmp_path, vb_b="x = 2")
        new = plugin(tmp_path, "vb_a:f")
        assert [old.load()(), new.load()(), old.load()()] == [1, 2, 1]

    def test_a_module_that_is_gone_is_not_found_any_more(self, tmp_path: Path) -> None:
        write(tmp_path, vb_a="import vb_b\ndef f(): return 1", vb_b="")
        assert plugin(tmp_path, "vb_a:f").load()() == 1
        write(tmp_path, vb_a="try:\n    import vb_b\nexcept ImportError:\n    vb_b = None\ndef f(): return vb_b")
        (tmp_path / "vb_b.py").unlink()
        plugin(tmp_path, "vb_a:f").load()

    def test_two_plugins_share_the_modules_that_are_the_same(self, tmp_path: Path) -> None:
        write(tmp_path, vb_shared="class Thing: ...")
        write(tmp_path, vb_first="from vb_shared import Thing\ndef f(): return Thing")
        write(tmp_path, vb_second="from vb_shared import Thing\ndef f(): return Thing")
        assert plugin(tmp_path, "vb_first:f").load()() is plugin(tmp_path, "vb_second:f").load()()

    def test_a_module_is_run_once(self, tmp_path: Path) -> None:
        write(tmp_path, vb_a="class Thing: ...")
        assert plugin(tmp_path, "vb_a:Thing").load() is plugin(tmp_path, "vb_a:Thing").load()


def test_threads_may_load_at_the_same_time(tmp_path: Path) -> None:
    write(tmp_path, vb_slow="import time, vb_slow_b\ntime.sleep(0.05)\nclass Thing: ...", vb_slow_b="")
    others = [write(tmp_path, **{f"vb_t{n}": f"def f(): return {n}"}) for n in range(8)]
    with ThreadPoolExecutor(16) as pool:
        things = list(pool.map(lambda _: plugin(tmp_path, "vb_slow:Thing").load(), range(8)))
        numbers = list(pool.map(lambda n: plugin(others[n], f"vb_t{n}:f").load()(), range(8)))
    assert len(set(things)) == 1
    assert numbers == list(range(8))


class TestWhatIsRefused:
    @pytest.mark.parametrize("name", ["", "module", "module:", ":f", "a/b:f", "a:b:c", "../a:f", "a:b.c"])
    def test_a_name_that_is_none(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(SpecError, match="module:attribute"):
            plugin(tmp_path, name)

    def test_a_module_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match=r"model.source: found no vb_none/deep.py in .*; expected a file beside"):
            plugin(tmp_path, "vb_none.deep:f")

    def test_a_module_that_is_missing_in_its_package(self, tmp_path: Path) -> None:
        write(tmp_path, vb_there__in____init__="")
        with pytest.raises(SpecError, match=r"no vb_there/model.py"):
            plugin(tmp_path, "vb_there.model:f")

    def test_an_attribute_that_its_file_never_names(self, tmp_path: Path) -> None:
        write(tmp_path, vb_a="def build_model(): ...")
        with pytest.raises(SpecError, match=r"model.source: found no 'build' in .*vb_a.py; expected a function"):
            plugin(tmp_path, "vb_a:build")

    @pytest.mark.parametrize(
        "text", ["f = 3", "# f", "from os import *", "def __getattr__(name): raise AttributeError"]
    )
    def test_an_attribute_that_is_not_there_or_cannot_be_called(self, tmp_path: Path, text: str) -> None:
        write(tmp_path, vb_a=text)
        with pytest.raises(SpecError, match="no callable"):
            plugin(tmp_path, "vb_a:f").load()

    def test_bad_syntax_before_anything_is_imported(self, tmp_path: Path) -> None:
        write(tmp_path, vb_a="x = 1\ndef f(:\n")
        with pytest.raises(SpecError, match=r"vb_a.py: .* in line 2"):
            plugin(tmp_path, "vb_a:f")

    def test_a_file_that_is_not_text(self, tmp_path: Path) -> None:
        (tmp_path / "vb_a.py").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(SpecError, match="UTF-8"):
            plugin(tmp_path, "vb_a:f")
        (tmp_path / "vb_a.py").write_bytes(b"x = 1\x00")
        with pytest.raises(SpecError, match="valid Python"):
            plugin(tmp_path, "vb_a:f")


class TestCodeFromElsewhere:
    """Only what lies in the spec's own folder becomes a plug-in."""

    def test_a_link_out_of_the_folder(self, tmp_path: Path) -> None:
        folder, elsewhere = tmp_path / "spec", write(tmp_path / "elsewhere", vb_a="def f(): ...")
        folder.mkdir()
        (folder / "vb_a.py").symlink_to(elsewhere / "vb_a.py")
        with pytest.raises(
            SpecError, match=rf"vb_a.py: found a link to {elsewhere}.*; expected code in the spec's own"
        ):
            plugin(folder, "vb_a:f")

    def test_a_linked_folder_and_what_a_plugin_imports(self, tmp_path: Path) -> None:
        write(tmp_path / "elsewhere", vb_b="")
        folder = write(tmp_path / "spec", vb_a="import vb_pack.vb_b\ndef f(): ...")
        (folder / "vb_pack").symlink_to("../elsewhere")
        for name in ("vb_pack.vb_b:f", "vb_a:f"):
            with pytest.raises(SpecError, match="found a link to"):
                plugin(folder, name)

    def test_links_within_the_folder_as_kubernetes_mounts_files(self, tmp_path: Path) -> None:
        folder = tmp_path / "mount"
        write(folder / "..2026_11_21", vb_a="def f(): return 1")
        (folder / "..data").symlink_to("..2026_11_21")
        (folder / "vb_a.py").symlink_to("..data/vb_a.py")
        (tmp_path / "link").symlink_to(folder)
        assert plugin(tmp_path / "link", "vb_a:f").load()() == 1

    @pytest.mark.parametrize(
        "name", ["..vb_a:f", ".vb_a:f", "vb_a.:f", "x/../../vb_a:f", "/vb_a:f", "vb_a\n:f", "-vb_a:f"]
    )
    def test_names_that_would_leave_it(self, tmp_path: Path, name: str) -> None:
        write(tmp_path, vb_a="def f(): ...")
        (tmp_path / "spec").mkdir()
        with pytest.raises(SpecError, match="module:attribute"):
            plugin(tmp_path / "spec", name)

    @pytest.mark.parametrize("name", ["os:system", "os.path:join", "subprocess:run", "vision_batch.plugin:find_plugin"])
    def test_installed_modules_are_no_plugins(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(SpecError, match="name of an installed module"):
            plugin(tmp_path, name)

    def test_an_installed_module_of_any_other_name(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match=r"no pytest\.py in"):
            plugin(tmp_path, "pytest:main")

    def test_the_import_path_stays_as_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "spec", vb_a="import sys\ndef f(): return [*sys.path]")
        write(tmp_path, vb_current="x = 1")
        monkeypatch.chdir(tmp_path)
        before = [*sys.path]
        assert plugin(tmp_path / "spec", "vb_a:f").load()() == sys.path == before

    def test_no_file_replaces_what_vision_batch_itself_imports(self, tmp_path: Path) -> None:
        package = Path(vision_batch.__file__).parent
        trees = [ast.parse(path.read_text(encoding="utf-8")) for path in package.rglob("*.py")]
        nodes = [node for tree in trees for node in ast.walk(tree)]
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in imported} <= RESERVED
        write(tmp_path, vb_a="import yaml\ndef f(): return yaml", yaml="raise SystemExit")
        assert plugin(tmp_path, "vb_a:f").load()() is yaml


class TestErrorsWhileImporting:
    def test_they_name_the_plugin_and_the_reason_every_time(self, tmp_path: Path) -> None:
        write(tmp_path, vb_bad="import vb_bad_b\nimport vb_not_installed_anywhere as f", vb_bad_b="")
        found = plugin(tmp_path, "vb_bad:f")
        for _ in range(2):
            with pytest.raises(SpecError, match=r"vb_bad:f: found ModuleNotFoundError while importing vb_bad: No mod"):
                found.load()
        assert "vb_bad" not in sys.modules
        assert "vb_bad_b" not in sys.modules

    def test_a_later_version_that_is_right_can_be_loaded(self, tmp_path: Path) -> None:
        write(tmp_path, vb_bad="f = 1 / 0")
        with pytest.raises(SpecError, match="ZeroDivisionError"):
            plugin(tmp_path, "vb_bad:f").load()
        write(tmp_path, vb_bad="def f(): return 1")
        assert plugin(tmp_path, "vb_bad:f").load()() == 1


def test_tracebacks_show_the_source(tmp_path: Path) -> None:
    write(tmp_path, vb_tb="def f():\n    return 1 / 0  # here\n")
    f = plugin(tmp_path, "vb_tb:f").load()
    with pytest.raises(ZeroDivisionError) as caught:
        f()
    assert "return 1 / 0  # here" in "".join(traceback.format_exception(caught.value))


def test_the_source_of_a_class_can_be_inspected(tmp_path: Path) -> None:
    write(tmp_path, vb_in="class Thing:\n    size = 3\n")
    assert "size = 3" in inspect.getsource(plugin(tmp_path, "vb_in:Thing").load())
