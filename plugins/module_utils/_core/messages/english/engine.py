# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``engine``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "engine.run_unknown": Text("There is no run {run_id!r} in {directory}.", "{suggestion}"),
    "engine.run_cancelled": Text("{name}: the run {run} was cancelled.", "Apply again to resume from its checkpoint."),
    "engine.source_unreadable": "The source of {module} cannot be read.",
    "engine.core_incomplete": "This module was shipped with a part of the core and cannot install it.",
    "engine.supervisor_not_started": "The supervisor could not be started: {reason}.",
    "engine.input_missing": Text(
        "{name}: {step} needs the {kind} {fingerprint}: {reason}.",
        "Make it first, with the module {module}.",
    ),
    "engine.supervisor_lost": "Given up: the supervisor of this job was lost {times} times.",
    "engine.node_supervisor_lost": Text(
        "The supervisor of this node's part of the training was lost, and with it the line to the other nodes.",
        "Apply again.",
    ),
    "engine.cancelled_before_start": "{kind} was cancelled before it began.",
    "engine.job_directory_removed": "The job's directory {job_dir} was taken away while it ran.",
    "engine.step_cancelled": "{kind} was cancelled.",
    "engine.run_failed": Text("{name}: {problem}", "{problem.hint}"),
    "engine.not_cleared": Text("{problem} {failure}", "{problem.hint}"),
    "engine.command_killed": Text("{kind} was killed by signal {signal}: {problem}", "{problem.hint}"),
    "engine.command_failed": Text("{kind} ended with status {status}: {problem}", "{problem.hint}"),
    "engine.disk_full": Text(
        "The disk is full: {free:bytes} free at {path}.",
        "Make room on that filesystem and run again: what was finished before is kept.",
    ),
    "engine.disk_full_as_well": Text(
        "{problem} The disk is full: {free:bytes} free at {path}.",
        "Make room on that filesystem and run again: what was finished before is kept.",
    ),
    "engine.limit_of_container": ": its container may use {limit} (memory_limit)",
    "engine.ended_by_kernel": Text(
        "{problem} The kernel ended a process for want of memory (RAM) while it ran{container}.",
        "Lower batch_size or cutoff_len, close what else runs, or add swap. Merging needs about 2 GB of RAM "
        "for each billion parameters. {hint}",
    ),
    "engine.drift": "{problems:join|; }",
    "engine.result_lost": Text(
        "{step} succeeded, but its result is incomplete or has drifted: {cause}.",
        "Something else changes it: look for another program that writes there.",
    ),
    "engine.supervisor_does_not_start": Text("The supervisor of this job does not start: {reason}", "Look into {log}."),
    "engine.says_nothing": "it says nothing.",
    "engine.run_record_damaged": Text(
        "The record of this run is damaged: {reason}",
        "It was changed from outside. Apply again: what was finished is kept, and the record is rewritten.",
    ),
}
