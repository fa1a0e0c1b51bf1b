# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: job_table
short_description: Format runs as the lines of a table
version_added: 0.1.0
description:
  - Formats the runs that M(ia_homelab.llamafactory.job_info) returns as
    RV(ia_homelab.llamafactory.job_info#module:runs) as the lines of a table, one line per run.
  - The table is followed by the findings of the trainings, such as a loss that did not fall, and by the
    errors of the runs that failed.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  _input:
    description: The runs.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the runs
  ansible.builtin.debug:
    msg: "{{ jobs.runs | ia_homelab.llamafactory.job_table | join('\n') }}"
"""

RETURN = r"""
_value:
  description: The lines of the table, starting with the column headers.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs import statements
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.progress import (
    Progress,
    format_duration,
)
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils._table import finding_lines, table

_HEADS = ("RUN", "STATE", "STEP", "PROGRESS", "LOSS", "ETA", "AGE", "GPU")


def job_table(runs: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Format runs as the lines of a table.

    :raises AnsibleFilterError: if the input is not a list of runs.
    """
    try:
        rows = [_HEADS, *(_row(run) for run in runs)]
        notes = [f"{run['id']}: {note}" for run in runs for note in _notes(run)]
    except (KeyError, TypeError) as error:
        raise AnsibleFilterError(f"job_table expects the runs that job_info returns: {error}") from error
    if len(rows) == 1:
        return ["no runs"]
    return [*table(rows), *notes]


def _notes(run: t.Mapping[str, t.Any]) -> list[str]:
    """The error of a failed run, and the findings of its training."""
    error = run.get("error") or {}
    failed = run["state"] == "failed" and error.get("message")
    errors = [" ".join(filter(None, [error["message"], error.get("hint")]))] if failed else []
    return [*errors, *finding_lines(run.get("findings") or [])]


def _row(run: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    progress = Progress.from_dict(run.get("progress") or {})
    step = run.get("current") or ((run.get("error") or {}).get("step") or "")
    share = f"{progress.percent}%  {progress.current:g}/{progress.total:g}" if progress.percent is not None else "-"
    return (
        run["id"],
        statements.state_of_view(run).text,
        step or "-",
        share,
        f"{progress.loss:.4g}" if progress.loss is not None else "-",
        format_duration(progress.eta_seconds) if progress.eta_seconds is not None else "-",
        format_duration(run.get("age_seconds") or 0),
        run.get("accelerator") or "-",
    )


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by name."""
        return {"job_table": job_table}
