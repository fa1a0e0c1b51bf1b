# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.suggestions import (
    did_you_mean,
    nearest,
)


@pytest.mark.parametrize(
    ("word", "named"),
    [("lernig_rate", "learning_rate"), ("EPOCHS", "epochs"), ("Epoch", "epochs"), ("gate", None), ("", None)],
)
def test_the_most_similar_name_is_suggested(word: str, named: str | None) -> None:
    found = nearest(word, iter(["learning_rate", "epochs", "batch_size"]))
    assert str(found) == (f"Did you mean '{named}'?" if named else "None")


def test_names_are_all_suggested() -> None:
    assert str(did_you_mean(["one", "two"])) == "Did you mean one or two?"
    assert did_you_mean([]) is None
