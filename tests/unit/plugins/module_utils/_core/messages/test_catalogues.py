# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes in the source and texts in the catalogues agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages import catalogue
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.formatting import fields
from ansible_collections.ia_homelab.llamafactory.tests.support.message_sites import (
    Site,
    names_of,
    sites,
    strings,
    texts_without_code,
)

ROOT = Path(__file__).resolve().parents[6]

MESSAGES = ROOT / "plugins" / "module_utils" / "_core" / "messages"
CATALOGUES = (MESSAGES / "english", MESSAGES / "french")
SOURCES = sorted(path for path in (ROOT / "plugins").rglob("*.py") if path.parent not in CATALOGUES)
ENGLISH = catalogue.texts("en")
FRENCH = catalogue.texts("fr")
SITES = list(sites(SOURCES, ENGLISH, ROOT))


@pytest.mark.parametrize("site", SITES, ids=lambda site: f"{site.place} {site.code}")
def test_a_site_passes_what_its_text_names(site: Site) -> None:
    assert site.code in ENGLISH, f"{site.place}: there is no text for {site.code}"
    if site.parameters is not None:
        assert site.parameters == names_of(*ENGLISH[site.code])


def test_every_error_has_a_code() -> None:
    assert not list(texts_without_code(SOURCES, ROOT))


def test_every_text_is_used() -> None:
    assert not sorted(set(ENGLISH) - strings(SOURCES))


def test_a_catalogue_has_the_codes_of_its_package_only() -> None:
    """A package with many texts has a second one: ``datasets_tools`` for ``datasets``."""
    for directory in CATALOGUES:
        for path in directory.glob("*.py"):
            if path.stem not in ("__init__", "all_texts"):
                codes = {code for code in strings([path]) if code in ENGLISH}
                assert {code.partition(".")[0] for code in codes} == {path.stem.partition("_tools")[0]}, path


def test_failures_of_runs_have_french_texts() -> None:
    """They are what the page shows of a run; other texts may be in English alone, and are marked as such there."""
    assert [
        code for code in ENGLISH if code.startswith(("engine.", "steps.", "runs.", "ollama.")) and code not in FRENCH
    ] == []


@pytest.mark.parametrize("code", sorted(FRENCH))
def test_a_french_text_names_what_the_english_one_names(code: str) -> None:
    assert names_of(*FRENCH[code]) == names_of(*ENGLISH[code])


@pytest.mark.parametrize("language", ["en", "fr"])
def test_texts_are_formats_that_can_be_read(language: str) -> None:
    for text in catalogue.texts(language).values():
        for template in text:
            for name, conversion, _specification in fields(template):
                assert name.isidentifier() or name.endswith(".hint")
                assert conversion in ("", "r", "s")
