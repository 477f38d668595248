"""The reference pages equal the text that the package's tables make today."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headrace.limits import LIMITS
from headrace.market.fields import FIELDS
from headrace.market.tick import GapCause

if TYPE_CHECKING:
    from types import ModuleType

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where Python finds the modules beside a script.
    sys.path.insert(0, str(DOCS))
    spec.loader.exec_module(module)
    return module


GENERATE = load_generator()


@pytest.mark.parametrize("name", sorted(GENERATE.PAGES))
def test_a_reference_page_is_up_to_date(name: str) -> None:
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == GENERATE.PAGES[name](), f"docs/reference/{name} is old: run python docs/generate.py"


def test_every_reference_page_is_generated() -> None:
    assert {path.name for path in (DOCS / "reference").iterdir()} == set(GENERATE.PAGES)


def test_a_table_that_changes_changes_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    before = GENERATE.limits_page()
    monkeypatch.setattr(GENERATE, "LIMITS", LIMITS[1:])
    assert GENERATE.limits_page() != before


def test_every_field_every_limit_and_every_cause_is_on_its_page() -> None:
    pages = {name: (DOCS / "reference" / name).read_text(encoding="utf-8") for name in ("fields.md", "limits.md")}
    record = (DOCS / "reference" / "record.md").read_text(encoding="utf-8")
    assert [field.name for field in FIELDS if f"| `{field.name}` |" not in pages["fields.md"]] == []
    assert [limit.name for limit in LIMITS if f"| `{limit.name}` | {limit.value:,} |" not in pages["limits.md"]] == []
    assert [cause.name for cause in GapCause if f"| `{cause.name}` |" not in record] == []


@pytest.mark.parametrize("page", ["README.md", "docs/glossary.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    text = (DOCS.parent / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:rust|python|tests|docs)/[\w./-]*)`", text)
    linked = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if link]
    assert named
    assert [path for path in named if not (DOCS.parent / path).exists()] == []
    assert [link for link in linked if not (DOCS.parent / page).parent.joinpath(link).exists()] == []


def test_no_word_stands_in_the_glossary_twice() -> None:
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    words = [word.strip() for word in re.findall(r"^\| ([^|]+?) \|", text, re.MULTILINE)]
    assert len(words) > 30
    assert len(set(words)) == len(words)
