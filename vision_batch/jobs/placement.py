"""Which layout a run's passes have: chosen from this machine, or from a cluster as soon as that has room."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vision_batch.inference.settings import AUTO, ComputeSettings
from vision_batch.jobs.prepare import Prepared
from vision_batch.jobs.reporter import Reporter

if TYPE_CHECKING:
    from vision_batch.inference.layout import Layout, Place, Resources
    from vision_batch.inference.lever import Setting


class Placement:
    """`setting` and `layout` are those of the latest pass; None before the first is chosen."""

    def __init__(self, prepared: Prepared, reporter: Reporter) -> None:
        self._prepared = prepared
        self._reporter = reporter
        self._awaited: Place | None = None
        self.setting: Setting | None = None
        self.layout: Layout | None = None

    def choose(self, resources: Resources, *, shards: int) -> Layout:
        """For what this machine has. SpecError for what it cannot place."""
        return self._take(self._setting(resources, self._prepared.settings.compute, shards))

    def choose_with_room(self, *, shards: int, confirm: Callable[[], None]) -> Layout:
        """For what the connected cluster has, as soon as it has room for one predictor; says what it waits for.

        `confirm` is called again and again meanwhile; what it raises ends the waiting. SpecError for what no cluster
        can place.
        """
        from vision_batch.inference.room import cluster_resources, setting_with_room

        def waiting(place: Place, reason: str) -> None:
            confirm()
            self._wait(place, reason)

        layout = self._take(setting_with_room(self._setting(cluster_resources(), self._compute, shards), waiting))
        self._awaited = None
        self._reporter.wait(None)
        if layout.wanted is not None and layout.predictors < min(layout.wanted, shards):
            self._reporter.note(f"room for {layout.predictors} of {layout.wanted} predictors for now")
        return layout

    def _take(self, setting: Setting) -> Layout:
        self.setting, self.layout = setting, setting.layout()
        return self.layout

    def _setting(self, resources: Resources, compute: ComputeSettings, shards: int) -> Setting:
        from vision_batch.inference.lever import Setting

        return Setting(
            resources=resources,
            compute=compute,
            shards=shards,
            output_px=self._prepared.model_px,
            answers_per_pixel=self._prepared.answers_per_pixel,
            weights_bytes=self._prepared.model.weights_bytes,
        )

    @property
    def _compute(self) -> ComputeSettings:
        """The spec's; a run that has found GPUs goes on with such, also when all nodes that had them have gone."""
        compute = self._prepared.settings.compute
        if compute.gpus_per_predictor == AUTO and self.layout is not None and self.layout.gpus_per_predictor:
            return compute.model_copy(update={"gpus_per_predictor": self.layout.gpus_per_predictor})
        return compute

    def _wait(self, place: Place, reason: str) -> None:
        if place != self._awaited:
            self._awaited = place
            self._reporter.note(f"waiting for {place}: {reason}")
        self._reporter.wait(f"for {place}")
