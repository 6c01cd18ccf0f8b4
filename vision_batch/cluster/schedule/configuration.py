"""What a server's own configuration file says, which `schedule serve --config` names: YAML, checked like a spec."""

from __future__ import annotations

import difflib
from pathlib import Path

from pydantic import Field

from vision_batch.cluster.schedule.contact import ContactSettings
from vision_batch.documents.document import read_document
from vision_batch.documents.validation import validate_settings
from vision_batch.errors import Problem, SpecError
from vision_batch.settings import Settings

CONFIGURATION_FILE = "a server's configuration: a YAML file with the section contacts"


class ServerSettings(Settings):
    """`contacts` are those that a spec's `on_failure` may name."""

    contacts: dict[str, ContactSettings] = Field(default_factory=dict)

    def demand_contact(self, name: str | None) -> None:
        """SpecError where a spec's `on_failure` names a contact that there is not."""
        if name is not None and name not in self.contacts:
            near = difflib.get_close_matches(name, self.contacts, n=1)
            found = repr(name) + (f" (did you mean {near[0]!r}?)" if near else "")
            known = (
                ", ".join(sorted(self.contacts))
                or "none: `schedule serve --config FILE` names the file that lists them"
            )
            raise SpecError(Problem("schedule.on_failure", found, f"a contact of the server's configuration ({known})"))


def load_configuration(path: Path) -> ServerSettings:
    """The settings in the file at `path`; SpecError with every problem."""
    document = read_document(path, expected=CONFIGURATION_FILE)
    try:
        return validate_settings(ServerSettings, document, what="the configuration")
    except SpecError as error:
        raise SpecError([Problem(f"{path}: {p.where}", p.found, p.expected) for p in error.problems]) from error
