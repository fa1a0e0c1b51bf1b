# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a step module, without Ansible."""

from __future__ import annotations

import dataclasses
import shutil
import typing as t

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils import _step_module
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab


@dataclasses.dataclass
class FakeModule:
    """The part of AnsibleModule that the edge uses."""

    params: dict[str, t.Any]
    check_mode: bool = False
    warnings: list[str] = dataclasses.field(default_factory=list)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_complete_results_need_no_record_of_their_run(lab: Lab) -> None:
    """They may come from another run, or from a run whose record was removed."""
    run = lab.counting("a", steps=1, count=1)
    module: t.Any = FakeModule({"data_dir": str(lab.data), "runs": None, "wait": True, "timeout": None})
    first = _step_module.follow_step(module, ("probe",), lambda _engine: run)
    assert first["changed"] is True and first["runs"][0]["state"] == "succeeded"
    shutil.rmtree(lab.data / "jobs" / "done")
    again = _step_module.follow_step(module, ("probe",), lambda _engine: run)
    assert (again["changed"], again["path"]) == (False, first["path"])
