# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback like those for programs: one JSON document on stdout at the end of the play."""

from __future__ import annotations

import json
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: one_json
type: stdout
short_description: The results of a play as one JSON document
description:
  - Prints the results of all tasks, and the statistics, when the play has ended.
"""


class CallbackModule(CallbackBase):
    """Collects the results of tasks."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "one_json"

    def __init__(self, *arguments: t.Any, **more: t.Any) -> None:
        super().__init__(*arguments, **more)
        self.results: list[dict[str, t.Any]] = []

    def _keep(self, result: t.Any) -> None:
        task = result.task.get_name().rpartition(" : ")[2]
        self.results.append({"host": result.host.get_name(), "task": task, "result": result.result})

    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._keep(result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._keep(result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._keep(result)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        hosts = {host: stats.summarize(host) for host in stats.processed}
        print(json.dumps({"results": self.results, "hosts": hosts}, default=str))
