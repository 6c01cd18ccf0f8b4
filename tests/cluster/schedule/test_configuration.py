"""A server's configuration is checked like a spec."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_batch.cluster.schedule.configuration import ServerSettings, load_configuration
from vision_batch.errors import SpecError


def write(folder: Path, text: str) -> Path:
    path = folder / "server.yaml"
    path.write_text(text)
    return path


def test_contacts_are_known_by_their_names(tmp_path: Path) -> None:
    text = "contacts:\n  on-call: {webhook: 'https://hooks.example/x'}\n  mail: {command: [/bin/true, --to, team]}\n"
    contacts = load_configuration(write(tmp_path, text)).contacts
    assert contacts["on-call"].webhook == "https://hooks.example/x"
    assert contacts["mail"].command == ["/bin/true", "--to", "team"]


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("contact: {}\n", "contact", "did you mean 'contacts'"),
        ("contacts: {on-call: {webhok: 'https://a/'}}\n", "contacts.on-call.webhok", "did you mean 'webhook'"),
        ("contacts: {on-call: {}}\n", "contacts.on-call", "either webhook or command"),
        ("contacts: {mail: {command: /bin/mail}}\n", "contacts.mail.command", "a list"),
        ("contacts: {mail: {command: [mail]}}\n", "contacts.mail.command", "absolute path"),
        ("contacts: [on-call]\n", "contacts", "a section"),
        ("", "", "the section contacts"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, where: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        load_configuration(path)
    assert str(caught.value).startswith(str(path))
    assert where in str(caught.value)
    assert said in str(caught.value)


def test_a_spec_may_name_only_a_contact_that_there_is() -> None:
    settings = ServerSettings.model_validate({"contacts": {"on-call": {"command": ["/bin/true"]}}})
    settings.demand_contact("on-call")
    settings.demand_contact(None)
    with pytest.raises(SpecError, match=r"'oncall' \(did you mean 'on-call'\?\); expected .* \(on-call\)"):
        settings.demand_contact("oncall")
    with pytest.raises(SpecError, match="--config FILE"):
        ServerSettings().demand_contact("on-call")
