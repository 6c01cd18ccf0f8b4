"""The bucket of the simulated nights, and an account of it that owes nothing to the ledger of the code under test."""

from __future__ import annotations

import json
import random
from itertools import groupby
from types import ModuleType
from typing import Any

import torch

from tests.faults.chaos_dataset import GOOD, Dataset, Files, contents
from tests.faults.chaos_place import S3Place
from tests.faults.chaos_table import COLUMNS, look, wrong_ending, wrong_rows
from tests.object_store.servers import S3Server
from vision_batch.errors import ImageError
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings

Shards = dict[str, list[tuple[str, int]]]
"""By shard, its images in their order and the numbers of their contents."""


class NightsPlace(S3Place):
    """A bucket whose output may move; `output` is its name."""

    def __init__(self, server: S3Server) -> None:
        super().__init__(server)
        self.server = server

    def run_records(self) -> dict[str, dict[str, Any]]:
        """What the output's ledger keeps of each run, by the names of the files."""
        prefix = f"{self.output}/_ledger/runs/"
        listed = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix).get("Contents", ())
        return {entry["Key"]: json.loads(self.read(entry["Key"])) for entry in listed}


class Bucket:
    """Images that come, change and leave by day. `seen` is what the output is to have of each shard by now."""

    def __init__(self, kind: type[Dataset], place: NightsPlace, dice: random.Random) -> None:
        self.dataset = kind(place, dice)
        self.place = place
        self._dice = dice
        self._seen: Shards = {}

    def pass_day(self, changes: int) -> None:
        """Something new comes, and the rest changes."""
        self.dataset.grow()
        data = self.dataset
        for deed in self._dice.choices([data.change, data.mend, data.remove], weights=[3, 1, 1], k=changes):
            deed()

    def new_images(self) -> int:
        """How many images have to be computed for the output to be right again."""
        before, now = self._seen, _by_shard(self.dataset)
        if isinstance(self.dataset, Files):  # each file is known by itself
            return sum(len(set(now[shard]) - set(before.get(shard, []))) for shard in now)
        return sum(len(entries) for shard, entries in now.items() if entries != before.get(shard))

    def settle(self) -> None:
        """From now on the output has what there is now; the rows of what has left stay as they are."""
        self._seen |= _by_shard(self.dataset)

    def begin_output(self, name: str) -> None:
        """Another output, which has nothing yet."""
        self.place.output = name
        self._seen = {}

    def wrong(self, reference: list[dict[str, Any]]) -> list[str]:
        """What is wrong with the output, as any reader finds it."""
        expected = {image_id: content for entries in self._seen.values() for image_id, content in entries}
        seen = look(self.place)
        return [*wrong_rows(seen, self.dataset, reference), *wrong_ending(seen, expected, reference)]

    def parts(self) -> dict[str, str]:
        """The output's parts and what tells their versions."""
        return self.place.parts()


def _by_shard(dataset: Dataset) -> Shards:
    entries = sorted(
        dataset.current.items(), key=lambda it: it[0].partition("/")[0]
    )  # stable: the order of a shard stays
    return {shard: list(group) for shard, group in groupby(entries, key=lambda it: it[0].partition("/")[0])}


def predictions(code: str) -> list[dict[str, Any]]:
    """The row that each content must have with the model of some code, computed here with nothing but torch."""
    module = ModuleType("model_code")
    exec(code, module.__dict__)
    model, preprocess = module.build().eval(), Preprocessor(PreprocessSettings(resize_px=(28, 28)), max_pixels=10_000)
    return [_prediction(content, model, preprocess) for content in contents()[: GOOD + 5]]


def _prediction(content: bytes | None, model: torch.nn.Module, preprocess: Preprocessor) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    if content is None:
        return row | {"error_code": "missing"}
    try:
        shown = preprocess(content)
    except ImageError as error:
        return row | {"error_code": error.code, "width": error.width, "height": error.height}
    settings = PreprocessSettings()
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (settings.mean, settings.std))
    with torch.inference_mode():
        pixels = torch.from_numpy(shown.pixels).permute(2, 0, 1) / 255
        scores = model(((pixels - mean) / std)[None]).softmax(1)[0]
    best = int(scores.argmax())
    return row | {"label": str(best), "score": float(scores[best]), "width": shown.width, "height": shown.height}
