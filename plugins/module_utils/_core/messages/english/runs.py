# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``runs``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "runs.result_place": "{name} is in {path} on the host.",
    "runs.state_absent": "not submitted",
    "runs.state_queued": "queued",
    "runs.state_queued_at": "queued ({place})",
    "runs.state_running": "running",
    "runs.state_paused": "paused",
    "runs.state_succeeded": "succeeded",
    "runs.state_failed": "failed",
    "runs.state_cancelled": "cancelled",
    "runs.state_cancelling": "cancelling",
    "runs.dismiss_active": Text("The run {run} has not ended.", "Cancel it first."),
    "runs.progress": "{parts:join|  }",
    "runs.progress_step": "step {current:g}/{total:g}",
    "runs.progress_loss": "loss {loss:.4g}",
    "runs.progress_eval_loss": "eval loss {loss:.4g}",
    "runs.progress_eta": "ETA {duration}",
    "runs.job_record_damaged": "The record of the job {job_dir} is missing or damaged.",
    "runs.no_run": "It is not the record of a run: {type}: {reason}.",
    "runs.no_step": "The run {run} has no step {step!r}.",
    "runs.schema_damaged": Text("{path} is damaged.", 'If all of jobs/ is of this version: {{"schema": 1}}.'),
    "runs.schema_newer": Text(
        "The job store {jobs} has schema {schema}, this core writes {schema_2}.",
        "A newer version of the collection has been here: upgrade this one.",
    ),
    "runs.tool_missing": Text(
        "{tool} was not found at {path}.",
        "Install the tools with the role ia_homelab.llamafactory.llamafactory, or say where they are.",
    ),
    "runs.id_invalid": "{run!r} is not the id of a run.",
    "runs.record_missing": "It is missing.",
    "runs.record_of_other_run": "It belongs to the run {run}.",
    "runs.no_job": "It is not the record of a job: {type}: {reason}.",
}
