"""The documentation: what is generated in it, and its links."""

import re
from pathlib import Path

import pytest

from scripts.configuration_table import DOCS, TABLES, document, table

ROOT = DOCS.parent
TEXTS = [
    path
    for folder in ("", "docs", "components", "components/examples", "sandbox")
    for path in sorted((ROOT / folder).glob("*.md"))
    if not path.name.endswith(".ko.md")
]
_ODD_WORDS = re.compile(
    r"\b(anew|stand-ins?|lately|all\s+the\s+same|goes?\s+on\s+working|is\s+given;)(?!\w)", re.IGNORECASE
)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_a_table_is_the_one_of_the_code(path: Path) -> None:
    assert document(path) == path.read_text("utf-8"), "run make schema after a change in settings.py or operator.py"


def test_the_table_has_nested_settings_with_their_limits() -> None:
    assert "| `keyDefaults.retireGuard.idleDays` | whole number, 1 to 3650, required |" in table()
    assert "| `users.NAME.key` | as `keyDefaults` |" in table()
    assert "`users.NAME.key.adopt.id`" in table()
    assert "`users.NAME.key.serial`" not in table(), "what keyDefaults has is described once"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", _without_code(path)):
        name, _, anchor = target.partition("#")
        linked = path.parent / name if name else path
        assert linked.exists(), f"{target} does not exist"
        if anchor and linked.suffix == ".md":
            assert anchor in _anchors(linked), f"{target}: there is no such heading"


def test_the_product_uses_plain_words() -> None:
    code = [
        path for folder in ("components", "sandbox/pulumi_sandbox", "demo") for path in (ROOT / folder).rglob("*.py")
    ]
    for path in [*TEXTS, *(path for path in code if "node_modules" not in path.parts)]:
        found = _ODD_WORDS.search(path.read_text("utf-8"))
        assert not found, f"{path.relative_to(ROOT)}: replace '{found and found[0]}' by a plainer word"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 180


def _without_code(path: Path) -> str:
    return re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)


def _anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", _without_code(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_changelog_has_the_version_that_is_built() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "components/pyproject.toml").read_text(), re.MULTILINE)
    assert version
    released = re.findall(r"^## \[(\d.*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[:1] == [version[1]], "see Release in CONTRIBUTING.md"
