"""The confusion matrix and the curves as pictures. Labels are foreign text: never markup, and cut to what fits."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.datasets.naming import shortened
from vision_batch.evaluation.measure import ConfusionCell, Curve, CurveKind
from vision_batch.tasks.class_index import vocabulary

DPI: Final = 100
MOST_CLASSES: Final = 30
"""In the picture of a matrix; of more classes those that are confused most often."""
NUMBERS_UP_TO: Final = 15
MOST_LINES: Final = 7
LABEL_LENGTH: Final = 24
NO_CLASS: Final = "(none)"
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito's, which people who see few colours can tell apart, without yellow."""
AXES: Final[dict[CurveKind, tuple[str, str, str]]] = {
    "roc": ("ROC", "false positive rate", "true positive rate"),
    "precision_recall": ("precision and recall", "recall", "precision"),
    "calibration": ("calibration", "mean score", "share that is right"),
}


def draw_confusion(cells: Sequence[ConfusionCell]) -> bytes | None:
    """A PNG, rows being the true classes and colours the shares of a row; None without cells."""
    if not cells:
        return None
    names = _most_confused(cells)
    rows = [*names, None] if any(cell.truth is None for cell in cells) else names
    columns = [*names, None] if any(cell.predicted is None for cell in cells) else names
    counts = _matrix(cells, rows, columns)
    size_in = 3.5 + 0.3 * len(columns)
    with _figure((size_in, size_in)) as (figure, buffer):
        axes = figure.subplots()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(columns)), map(_tick, columns), rotation=90)
        axes.set_yticks(range(len(rows)), map(_tick, rows))
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title("colours: share of the true class", fontsize="medium")
        if len(names) <= NUMBERS_UP_TO:
            for row, column in zip(*np.nonzero(counts), strict=True):
                colour = "white" if shares[row, column] > 0.5 else "black"
                text = f"{counts[row, column]:,}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize="small")
    return buffer.getvalue()


def draw_curves(curves: Sequence[Curve]) -> bytes | None:
    """A PNG with a panel for each kind of curve, of the classes that come first; None without curves."""
    kinds = [kind for kind in AXES if any(curve.kind == kind for curve in curves)]
    if not kinds:
        return None
    with _figure((4.5 * len(kinds), 4.2)) as (figure, buffer):
        for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
            title, x, y = AXES[kind]
            axes.set(title=title, xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
            axes.grid(alpha=0.3)
            if kind != "precision_recall":
                axes.plot([0, 1], [0, 1], color="#808080", linestyle=":", linewidth=1)
            of_kind = [curve for curve in curves if curve.kind == kind]
            for curve, colour in zip(of_kind[:MOST_LINES], COLOURS, strict=False):
                marker = "o" if kind == "calibration" else ""
                label = None if curve.label is None else shortened(curve.label, LABEL_LENGTH)
                axes.plot(curve.x, curve.y, color=colour, marker=marker, markersize=3, linewidth=1.5, label=label)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize="x-small")
    return buffer.getvalue()


def _most_confused(cells: Sequence[ConfusionCell]) -> list[str | None]:
    """The classes of the picture, by name, or by value where all are whole numbers."""
    mistakes: Counter[str] = Counter()
    for cell in cells:
        for name in (cell.truth, cell.predicted):
            if name is not None:
                mistakes[name] += cell.count if cell.truth != cell.predicted else 0
    return [*vocabulary(name for name, _ in mistakes.most_common(MOST_CLASSES))]


def _matrix(
    cells: Sequence[ConfusionCell], rows: Sequence[str | None], columns: Sequence[str | None]
) -> NDArray[np.int64]:
    row, column = ({name: index for index, name in enumerate(names)} for names in (rows, columns))
    counts = np.zeros((len(rows), len(columns)), np.int64)
    for cell in cells:
        if cell.truth in row and cell.predicted in column:
            counts[row[cell.truth], column[cell.predicted]] = cell.count
    return counts


def _tick(name: str | None) -> str:
    return NO_CLASS if name is None else shortened(name, LABEL_LENGTH)


@contextmanager
def _figure(size_in: tuple[float, float]) -> Iterator[tuple[Any, io.BytesIO]]:
    """A figure, which is in the buffer as PNG when this ends."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with mpl.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # a script that no font here has
        figure = Figure(figsize=size_in, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, buffer
        figure.savefig(buffer, format="png", metadata={"Software": None})
