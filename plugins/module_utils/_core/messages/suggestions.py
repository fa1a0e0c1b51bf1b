# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hints that name what the reader may have meant."""

from __future__ import annotations

import difflib
import typing as t

from .message import Message


def did_you_mean(names: t.Sequence[str]) -> Message | None:
    """``Did you mean X or Y?``; None without names."""
    return Message("errors.did_you_mean", names=list(names)) if names else None


def nearest(word: str, candidates: t.Iterable[str]) -> Message | None:
    """``Did you mean 'X'?`` with the candidate most similar to the word; None if none is similar."""
    by_casefolded = {item.casefold(): item for item in candidates}
    matches = difflib.get_close_matches(word.casefold(), by_casefolded, n=1, cutoff=0.6)
    return Message("errors.did_you_mean_quoted", name=by_casefolded[matches[0]]) if matches else None
