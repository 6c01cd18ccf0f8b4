"""`export:URI`: a program that torch.export.save wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_batch.errors import Problem, SpecError
from vision_batch.models.digest import file_digest, read_checked
from vision_batch.models.source import Resolved, Wanted, refuse_extras
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import normalise

if TYPE_CHECKING:
    import torch

    from vision_batch.models.bundle import ModelBundle


class ExportSource:
    """Loads the program from what `export_archive` has checked, and nothing else."""

    def resolve(self, wanted: Wanted) -> Resolved:
        refuse_extras(wanted.settings)
        if wanted.for_training:
            raise SpecError(
                Problem("model.source", wanted.settings.source, "a module: a program is fixed in its eval mode")
            )
        location = normalise(wanted.address, wanted.folder)
        digest = file_digest(location, where="model.source")
        return Resolved(
            location=location,
            facts={"program_sha256": digest},
            weights_bytes=storage_for(location).stat(location).size_bytes,
        )

    def load(self, bundle: ModelBundle) -> torch.nn.Module:
        from vision_batch.models.export_program import load_program

        return load_program(read_checked(bundle.location, bundle.facts["program_sha256"]), bundle.location)
