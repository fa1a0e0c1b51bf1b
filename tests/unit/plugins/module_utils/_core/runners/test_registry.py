# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runners by name."""

from __future__ import annotations

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.registry import RUNNERS, get_runner


@pytest.mark.parametrize("name", RUNNERS)
def test_every_listed_runner_exists(name: str) -> None:
    """Under the name that a job stores, by which the next process finds it again."""
    assert get_runner(name).name == name


def test_unknown_runners_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="no runner 'slurm'") as caught:
        get_runner("slurm")
    assert all(name in caught.value.hint for name in RUNNERS)
