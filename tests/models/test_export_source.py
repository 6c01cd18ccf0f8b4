"""Exported programs: ordinary ones load and agree, hostile ones are refused before torch sees them."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.archives import (
    CONSTANTS,
    GRAPH,
    SAMPLES,
    WEIGHTS,
    Small,
    changed,
    edited,
    exported,
    first_size,
    honest,
    hostile,
    members,
    packed,
    saved,
)
from vision_batch.errors import ModelError
from vision_batch.models.bundle import resolve_model
from vision_batch.models.export_archive import checked_members
from vision_batch.models.export_program import load_program
from vision_batch.models.predictor import Predictor
from vision_batch.models.settings import ModelSettings
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import task_for

EXECUTED = ["opaque object", "sample inputs", "size expression", "weight"]
"""The ways that torch 2.13 falls for; its verifier and its code generator happen to stop the others."""


class TestOrdinaryPrograms:
    def test_it_says_what_the_module_said_for_any_batch(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        module = Small().eval()
        (tmp_path / "small.pt2").write_bytes(exported(module))
        loaded = resolve_model(ModelSettings(source="export:small.pt2"), tmp_path).load()
        for count in (1, 2, 5):
            images = torch.rand(count, 3, 16, 16)
            assert torch.equal(loaded(images), module(images))

    def test_it_runs_in_a_predictor(self) -> None:
        program = load_program(honest(), "honest.pt2")
        pixels = np.zeros((4, 16, 16, 3), np.uint8)
        for precision in ("fp32", "bf16"):
            predict = Predictor(program, mean=(0, 0, 0), std=(1, 1, 1), precision=precision, device=torch.device("cpu"))
            assert predict(pixels).shape == (4, 5)

    def test_a_detectors_answer_stays_what_it_is(self) -> None:
        """Both forms that a program with any number of images can have."""

        class Detector(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.features = torch.nn.Conv2d(3, 7, 4, 4)

            def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
                queries = self.features(images).flatten(2).transpose(1, 2)
                if self.listed:
                    scores, labels = queries[..., 4:].sigmoid().max(dim=-1)
                    return {"boxes": queries[..., :4] * 16, "scores": scores, "labels": labels}
                return {"logits": queries[..., 4:], "pred_boxes": queries[..., :4].sigmoid()}

        torch.manual_seed(0)
        module, images = Detector().eval(), torch.rand(3, 3, 16, 16)
        for module.listed in (True, False):
            program, task = (
                load_program(exported(module), "detector.pt2"),
                task_for(TaskSettings(type="detection"), None),
            )
            outputs, expected = (
                {name: value.detach().numpy() for name, value in called(images).items()} for called in (program, module)
            )
            np.testing.assert_equal(outputs, expected)
            task.check(outputs, 3)

    def test_dynamic_heights_and_widths_are_expressions_and_load(self) -> None:
        module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.nn.AvgPool2d(2)).eval()
        sizes = {0: torch.export.Dim("N"), 2: torch.export.Dim("H", min=8), 3: torch.export.Dim("W", min=8)}
        data = exported(module, torch.zeros(2, 3, 32, 24), (sizes,))
        assert b"FloorDiv" in members(data)[GRAPH]
        images = torch.rand(3, 3, 40, 56)
        assert torch.equal(load_program(data, "dynamic")(images), module(images))

    def test_nothing_pickled_reaches_torch(self) -> None:
        kept = checked_members(honest(), "honest")
        assert SAMPLES not in kept
        assert [name for name, content in kept.items() if content[:2] in (b"PK", b"\x80\x02")] == []

    def test_facts_hold_its_digest(self, tmp_path: Path) -> None:
        (tmp_path / "a.pt2").write_bytes(honest())
        first = resolve_model(ModelSettings(source="export:a.pt2"), tmp_path)
        (tmp_path / "a.pt2").write_bytes(changed("extra/notes", b"hello"))
        second = resolve_model(ModelSettings(source="export:a.pt2"), tmp_path)
        assert first.facts["program_sha256"] != second.facts["program_sha256"]
        with pytest.raises(ModelError, match="changed since the run began"):
            first.load()
        assert second.load()(torch.zeros(1, 3, 16, 16)).shape == (1, 5)


class TestHostileArchives:
    def test_torch_alone_would_run_them(self, tmp_path: Path) -> None:
        """The control: were it not so, the tests below would prove nothing."""
        for way in EXECUTED:
            (tmp_path / f"{way}.pt2").write_bytes(hostile(tmp_path / f"{way}.executed")[way])
        code = (
            "import contextlib, glob, torch\n"
            f"for path in glob.glob({str(tmp_path / '*.pt2')!r}):\n"
            "    with contextlib.suppress(Exception):\n"
            "        torch.export.load(path)\n"
        )
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert sorted(path.stem for path in tmp_path.glob("*.executed")) == EXECUTED

    @pytest.mark.parametrize(
        ("way", "words"),
        [
            (
                "sample inputs",
                r"member data/sample_inputs/model.pt is a pickle that calls pathlib Path.write_text|getattr",
            ),
            ("weight", r"member data/weights/model_weights_config.json has '.*' pickled"),
            ("opaque object", r"member data/constants/model_constants_config.json has '.*' pickled"),
            ("size expression", r"member models/model.json holds an expression that could be code: .__import__"),
            ("target", r"member models/model.json calls 'torch.os.system'; only the operators of aten"),
            ("node name", r"member models/model.json holds a (name|text) that could be code: .x = __import__"),
        ],
    )
    def test_it_is_refused_with_the_member_and_nothing_runs(self, tmp_path: Path, way: str, words: str) -> None:
        executed = tmp_path / "executed"
        with pytest.raises(ModelError, match=words):
            load_program(hostile(executed)[way], "hostile.pt2")
        assert not executed.exists()

    @pytest.mark.parametrize(
        ("member", "words"),
        [
            ("data/aotinductor/model/a.so", "is compiled code"),
            ("data/constants/custom_obj_0", "is a pickled object"),
            ("data/weights/model.pt", "is not a plain tensor"),
            ("data/constants/model.pt", "is not a plain tensor"),
            ("data/weights/weight_0.pkl", "is not a plain tensor"),
            ("data.pkl", "is not part of an archive of torch.export.save"),
            ("models/other.json", "is not part of"),
            ("serialized_state_dict.pt", "belongs to the format of torch before 2.8"),
        ],
    )
    def test_members_that_do_not_belong(self, member: str, words: str) -> None:
        with pytest.raises(ModelError, match=f"^evil is refused: its member {member} {words}"):
            checked_members(changed(member, b"anything"), "evil")

    def test_files_beside_the_program_are_left_out(self) -> None:
        assert "extra/run.py" not in checked_members(changed("extra/run.py", b"print()"), "archive")


class TestZipTricks:
    def test_a_member_outside_the_folder(self) -> None:
        files = {f"archive/{name}": content for name, content in members(honest()).items()}
        for name in ("elsewhere/x", "/etc/x", "archive/../x", "archive\\x"):
            with pytest.raises(ModelError, match="lies outside the archive's folder"):
                checked_members(packed(files | {name: b""}, root=""), "a")

    def test_a_member_that_is_there_twice(self) -> None:
        buffer = io.BytesIO(packed(members(honest())))
        with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as archive:
            warnings.simplefilter("ignore")
            archive.writestr(f"archive/{GRAPH}", "{}")
        with pytest.raises(ModelError, match=f"{GRAPH} is there twice"):
            checked_members(buffer.getvalue(), "a")

    def test_a_bomb(self) -> None:
        files = members(honest()) | {"data/weights/weight_99": bytes(1_000_000)}
        with pytest.raises(ModelError, match="is compressed or encrypted"):
            checked_members(packed(files, compression=zipfile.ZIP_DEFLATED), "a")

    def test_members_that_share_their_bytes(self) -> None:
        """Every entry of the directory is made to point at the first large member."""
        data = bytearray(packed({"data/weights/weight_0": bytes(5000), "data/weights/weight_1": bytes(5000)}))
        directory = data.index(b"PK\x01\x02")
        second = data.index(b"PK\x01\x02", directory + 4)
        data[second + 20 : second + 28] = struct.pack("<II", 50_000, 50_000)
        with pytest.raises(ModelError, match=r"claim more bytes|not a whole"):
            checked_members(bytes(data), "a")

    @pytest.mark.parametrize("data", [b"", b"PK", b"hello" * 100, honest()[:-100], honest()[: len(honest()) // 2]])
    def test_what_is_no_archive(self, data: bytes) -> None:
        with pytest.raises(ModelError, match=r"is not a whole .pt2 archive"):
            checked_members(data, "a")

    def test_another_program_of_torch(self) -> None:
        with pytest.raises(ModelError, match=r"is not part of an archive|no models/model.json"):
            checked_members(saved({"weight": torch.zeros(2)}), "a")

    @pytest.mark.parametrize("member", [GRAPH, WEIGHTS, CONSTANTS, "archive_format"])
    def test_a_member_that_is_missing(self, member: str) -> None:
        with pytest.raises(ModelError, match=f"has no {member}"):
            checked_members(changed(member, None), "a")

    def test_a_flipped_bit(self) -> None:
        data = bytearray(honest())
        data[data.index(b"weight_0") + 200] ^= 1
        with pytest.raises(ModelError, match=r"not a whole .pt2 archive"):
            checked_members(bytes(data), "a")


class TestTextsThatCouldBeCode:
    @pytest.mark.parametrize(
        "expression",
        [
            "__import__('os').system('true')",
            "Symbol('s0').__class__",
            "(lambda: 0)()",
            "Max('__import__(1)', 2)",
            "eval('1')",
            "[x for x in (1,)]",
            "s0 if 1 else s1",
            "Symbol('a b')",
            "Symbol(name='x')",
            "__builtins__",
            "s0; s1",
            "f'{s0}'",
            "s0[0]",
            "Add(*s0)",
            "9 + " * 1000 + "9",
        ],
    )
    def test_expressions(self, expression: str) -> None:
        def edit(document: Any) -> None:
            first_size(document)["expr_str"] = expression

        with pytest.raises(ModelError, match=r"models/model.json"):
            checked_members(edited(GRAPH, edit), "a")

    @pytest.mark.parametrize(
        "expression",
        ["Symbol('s77', positive=True, integer=True)", "s77", "Add(Mul(Integer(-1), s0), Rational(1, 2))", "s0//2 + 1"],
    )
    def test_honest_expressions(self, expression: str) -> None:
        def edit(document: Any) -> None:
            first_size(document)["expr_str"] = expression

        assert GRAPH in checked_members(edited(GRAPH, edit), "a")

    @pytest.mark.parametrize(
        "target",
        [
            "torch.os.system",
            "torch.load",
            "torch.ops.aten.from_file.default",
            "torch.ops.aten.save.default",
            "torch.ops.mine.run.default",
            "torch.ops.load_library",
            "torch.ops.aten.add.Tensor.__globals__",
            "_operator.methodcaller",
            "_operator.attrgetter",
            "math.__loader__.x",
            "#extension:op",
            "torch.ops.aten.add.Tensor\n",
        ],
    )
    def test_targets(self, target: str) -> None:
        def edit(document: Any) -> None:
            document["graph_module"]["graph"]["nodes"][0]["target"] = target

        with pytest.raises(ModelError, match=r"models/model.json calls .*; only the operators of aten are run"):
            checked_members(edited(GRAPH, edit), "a")

    def test_containers_that_import_modules(self) -> None:
        enum = json.dumps({"__enum__": True, "fqn": "antigravity:X", "name": "A"})
        for type_, context in (("builtins.dict", enum), ("collections.defaultdict", "[]"), ("mine.Output", "null")):
            spec = json.dumps([1, {"type": type_, "context": context, "children_spec": []}])

            def edit(document: Any, spec: str = spec) -> None:
                document["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = spec

            with pytest.raises(ModelError, match=r"models/model.json (takes or returns|holds)"):
                checked_members(edited(GRAPH, edit), "a")

    def test_names_in_the_tables_of_tensors(self) -> None:
        def edit(document: Any) -> None:
            document["config"]["a'); import os; ('"] = next(iter(document["config"].values()))

        with pytest.raises(ModelError, match=r"model_weights_config.json holds a text that could be code"):
            checked_members(edited(WEIGHTS, edit), "a")

    def test_guards_and_notes_are_left_out(self) -> None:
        def edit(document: Any) -> None:
            document["guards_code"] = ["__import__('os')"]
            document["graph_module"]["graph"]["nodes"][0]["metadata"] = {"stack_trace": "f(x)"}

        assert b"__import__" not in checked_members(edited(GRAPH, edit), "a")[GRAPH]


class TestProgramsThatDoNotFit:
    def test_a_fixed_batch(self) -> None:
        with pytest.raises(
            ModelError, match=r"takes batches of exactly 2; export it with a dynamic batch: torch.export"
        ):
            load_program(exported(Small().eval(), dynamic=None), "fixed")

    def test_training_mode(self) -> None:
        with pytest.raises(ModelError, match="was exported in training mode"):
            load_program(exported(Small().train()), "training")

    def test_another_input(self) -> None:
        data = exported(torch.nn.Linear(4, 2).eval(), torch.zeros(2, 4))
        with pytest.raises(ModelError, match=r"takes a tensor of shape .*; expected images \(N, 3, H, W\)"):
            load_program(data, "rows")

    def test_a_graph_that_torch_does_not_understand(self) -> None:
        def edit(document: Any) -> None:
            document["schema_version"]["major"] = 99

        with pytest.raises(ModelError, match="cannot be loaded with torch 2"):
            load_program(edited(GRAPH, edit), "newer")
