"""A rate card: the YAML file that says which kinds of nodes there are, what they cost, and how fast a job is there."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from vision_batch.documents.document import read_document
from vision_batch.documents.validation import validate_settings
from vision_batch.errors import Problem, SpecError
from vision_batch.settings import Settings
from vision_batch.storage.uri import normalise


class Pace(Settings):
    """Measured images/s of a job: for each CPU, and for each GPU where there are any. The lower bound holds."""

    per_core: float = Field(gt=0, allow_inf_nan=False)
    per_gpu: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class NodeType(Settings):
    """One kind of node. Without `images_per_second` the figures of the output's newest fitting run are taken."""

    cpus: int = Field(ge=1)
    gpus: int = Field(default=0, ge=0)
    price_per_hour: float = Field(ge=0, allow_inf_nan=False)
    images_per_second: Pace | None = None

    @model_validator(mode="after")
    def _says_what_its_gpus_do(self) -> NodeType:
        pace = self.images_per_second
        if pace is not None and (pace.per_gpu is None) == (self.gpus > 0):
            raise ValueError("images_per_second.per_gpu where there are gpus, and only there")
        return self


class RateCard(Settings):
    """`hours` is how long the job may take, if that matters: it decides how many nodes there must be.

    `runs` is the output whose runs tell the pace, as that of a trial; by default the job's own.
    """

    currency: str = Field(default="USD", min_length=1, max_length=8)
    hours: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    runs: str | None = Field(default=None, min_length=1)
    nodes: dict[str, NodeType] = Field(min_length=1)


def load_rate_card(path: Path) -> RateCard:
    """The rate card at `path`, `runs` taken from its folder; SpecError with every problem."""
    try:
        document = read_document(path, expected="a rate card: a YAML file with nodes:")
        card = validate_settings(RateCard, document, what="the rate card")
        return card if card.runs is None else card.model_copy(update={"runs": normalise(card.runs, path.parent)})
    except SpecError as error:
        raise SpecError([_below(path, problem) for problem in error.problems]) from error


def _below(path: Path, problem: Problem) -> Problem:
    is_named = problem.where.startswith(str(path))
    return problem if is_named else Problem(f"{path}: {problem.where}", problem.found, problem.expected)
