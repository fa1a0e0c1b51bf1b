# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts of all messages by language and code.

The texts of a language are imported when one of them is needed: most processes never render a message.
"""

from __future__ import annotations

import importlib
import typing as t

from .formatting import ENGLISH, FRENCH
from .text import Text, Texts

_loaded: dict[str, dict[str, Text]] = {}
_added: dict[str, dict[str, Text]] = {}


def add(language: str, texts: Texts) -> None:
    """Add the texts of a program that uses the core, such as the service.

    :param language: ``en`` or ``fr``.
    """
    _added.setdefault(language, {}).update(_as_texts(texts))


def find(code: str, language: str) -> tuple[Text, str] | None:
    """Return the text of a code and the language that it is in: the one asked for, or English.

    :returns: None if there is no text of this code.
    """
    for each in dict.fromkeys((language, ENGLISH)):
        text = _added.get(each, {}).get(code) or texts(each).get(code)
        if text is not None:
            return text, each
    return None


def texts(language: str) -> dict[str, Text]:
    """Return all texts of the core in a language by code; empty if it has none in that language."""
    if language not in _loaded:
        _loaded[language] = _as_texts(_read(language))
    return _loaded[language]


def _read(language: str) -> Texts:
    if language == ENGLISH:
        from .english.all_texts import CATALOGUES

        return _merged(CATALOGUES)
    if language == FRENCH:
        # by name: Ansible ships what is imported, and modules report in English
        return _merged(importlib.import_module(f"{__package__}.french.all_texts").CATALOGUES)
    return {}


def _merged(catalogues: t.Iterable[t.Any]) -> Texts:
    """Return the texts of several modules with ``TEXTS`` by code."""
    return {code: text for catalogue in catalogues for code, text in catalogue.TEXTS.items()}


def _as_texts(texts: Texts) -> dict[str, Text]:
    return {code: Text(text) if isinstance(text, str) else text for code, text in texts.items()}
