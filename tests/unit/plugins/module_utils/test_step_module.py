# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a step module answers, without Ansible around it."""

from __future__ import annotations

import dataclasses
import shutil
import typing as t

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils import _step_module
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab


@dataclasses.dataclass
class Called:
    """What the edge takes of an AnsibleModule."""

    params: dict[str, t.Any]
    check_mode: bool = False
    warnings: list[str] = dataclasses.field(default_factory=list)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_what_is_whole_needs_no_record_of_its_run(lab: Lab) -> None:
    """Whoever has made it: another run, or one whose record was taken away since."""
    run = lab.counting("a", steps=1, count=1)
    module: t.Any = Called({"data_dir": str(lab.data), "runs": None, "wait": True, "timeout": None})
    first = _step_module.follow_step(module, ("probe",), lambda _engine: run)
    assert first["changed"] is True and first["runs"][0]["state"] == "succeeded"
    shutil.rmtree(lab.data / "jobs" / "done")
    again = _step_module.follow_step(module, ("probe",), lambda _engine: run)
    assert (again["changed"], again["path"]) == (False, first["path"])
