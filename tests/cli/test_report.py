"""`report` writes where it is told to, and says where."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.outputs import CLASSIFICATION, make_output
from vision_batch.cli.main import main


def test_it_says_where_the_page_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = make_output(tmp_path, CLASSIFICATION, {"a.jpg": {"label": "cat", "label_index": 0, "score": 0.5}})
    assert main(["report", output, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": f"{output}-report.html"}
    assert main(["report", output, "--to", str(tmp_path / "b.html")]) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'b.html'}\n"
    assert (tmp_path / "b.html").read_text("utf-8").startswith("<!doctype html>")


def test_what_is_no_output_is_refused(tmp_path: Path) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert main(["report", str(tmp_path / "nothing")]) == 2


def test_it_needs_neither_torch_nor_ray(tmp_path: Path) -> None:
    rows = {f"{n}.jpg": {"label": "cat", "label_index": 0, "score": 0.5} for n in range(3)}
    output = make_output(tmp_path, CLASSIFICATION, rows, truth=dict.fromkeys(rows, "cat"))
    code = (
        "import sys; from vision_batch.cli.main import main; code = main(sys.argv[1:]); "
        "sys.exit(code or ', '.join({'torch', 'ray'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code, "report", output], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "How good it is" in Path(f"{output}-report.html").read_text("utf-8")
