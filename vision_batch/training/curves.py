"""How a training went, as one picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from vision_batch.training.event import TrainEvent

WIDTH_IN, PANEL_IN, DPI = 8.0, 3.25, 100
DOTS_UP_TO = 40
"""Up to so many epochs each value has a dot: a line of one point would not be seen."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito's, which people who see few colours can tell apart, without yellow."""
LOSS = "loss"


def draw_curves(history: Sequence[TrainEvent], *, model_step: int) -> bytes:
    """A PNG of 800 pixels' width: over the epochs both losses, and below, where there are any, validation's metrics.

    `history` are the events of the epochs, in order; there may be none. The model is the one of `model_step`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = sorted({name for event in history for name in event.metrics} - {LOSS})[: len(COLOURS)]
    panels = 2 if metrics else 1
    figure = Figure(figsize=(WIDTH_IN, panels * PANEL_IN), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    losses = {"training": [event.loss for event in history]}
    losses["validation"] = [event.metrics.get(LOSS) for event in history]
    _draw_lines(axes[0], "loss", history, losses)
    if metrics:
        values = {name: [event.metrics.get(name) for event in history] for name in metrics}
        _draw_lines(axes[1], "validation", history, values)
    for event in [event for event in history if event.step == model_step]:
        for panel in axes:
            panel.axvline(event.epoch + 1, color="#808080", linestyle=":", label=f"model: epoch {event.epoch + 1}")
    for panel in [panel for panel in axes if panel.get_legend_handles_labels()[0]]:
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small")
    axes[-1].set_xlabel("epoch")
    axes[-1].set_xlim(0.5, max(len(history), 1) + 0.5)
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_lines(axes: Any, title: str, history: Sequence[TrainEvent], lines: dict[str, list[float | None]]) -> None:
    """A line for each name, through the epochs that have a value."""
    for colour, (name, values) in zip(COLOURS, lines.items(), strict=False):
        points = [(event.epoch + 1, value) for event, value in zip(history, values, strict=True) if value is not None]
        if points:
            marker = "o" if len(points) <= DOTS_UP_TO else ""
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=3, linewidth=1.5, label=name)
    axes.set_ylabel(title)
    axes.grid(alpha=0.3)
