"""What a command printed is shown without the secret."""

import base64
import os
import textwrap
from pathlib import Path

import pytest
from aws_access_keys.cli.stack import StackError, pulumi
from aws_access_keys.rules.redaction import SHOWN, redacted

from tests.leaks import FORMS, Search

SECRET = "wJalr/XUtnFEMI+K7MDENG/bPxRfiCYEXAMPLEKEY"
DOCUMENT = f'{{"user": "ann", "secret": "{SECRET}"}}'


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_removed_in_every_form(form: str) -> None:
    for needle in FORMS[form](SECRET.encode()):
        text = f"before {needle.decode()} after"
        assert redacted(text, SECRET) == f"before {SHOWN} after"


@pytest.mark.parametrize("width", [40, 64, 76])
@pytest.mark.parametrize("offset", range(3))
def test_a_document_in_lines_of_base64_is_shown_without_the_secret(width: int, offset: int) -> None:
    encoded = base64.b64encode(b" " * offset + DOCUMENT.encode()).decode()
    assert Search({SECRET}).text("it", encoded).found, "the search is not blind"
    shown = redacted("\n".join(textwrap.wrap(encoded, width)), SECRET)
    assert not Search({SECRET}).text("it", "".join(shown.split())).found
    assert SHOWN in shown


def test_other_text_stays() -> None:
    text = "saved version 3\nof the secret\n"
    assert redacted(text, SECRET) == text


def test_what_pulumi_printed_before_it_was_killed_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pulumi"
    program.write_text(f"#!/bin/sh\necho '{DOCUMENT}'\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(StackError, match=r"^`pulumi stack export` ended with exit code -9\.$"):
        pulumi("stack", "export", "--show-secrets")
