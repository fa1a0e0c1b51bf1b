# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: durations
type: aggregate
short_description: Print the duration of each play
version_added: 0.1.0
description:
  - Prints a line with the duration of each play, and one with the total at the end.
author:
  - ia_homelab contributors (@ia-homelab)
requirements:
  - enable in configuration
"""

import time
import typing as t

from ansible.plugins.callback import CallbackBase

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.progress import format_duration


class CallbackModule(CallbackBase):
    """Prints the duration of each play on stderr."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "ia_homelab.llamafactory.durations"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._began = time.monotonic()
        self._play = ""
        self._play_began = self._began

    def _print_duration(self) -> None:
        if self._play:
            spent = format_duration(time.monotonic() - self._play_began)
            self._display.display(f"-- {self._play}: {spent}", stderr=True)
        self._play = ""

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """Print the duration of the previous play when the next one starts."""
        self._print_duration()
        self._play = play.get_name()
        self._play_began = time.monotonic()

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Print the total duration after all plays."""
        self._print_duration()
        self._display.display(f"-- all of it: {format_duration(time.monotonic() - self._began)}", stderr=True)
