# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The context of a step: its paths, its spec and its toolchain."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..artifacts.integrity import artifact_path
from ..artifacts.layout import Layout
from ..errors import StoreError
from ..system.files import (
    read_json,
    read_record,
)
from .names import JOB_FILE, RUN_FILE
from .run import Run
from .spec import StepSpec, Toolchain


@dataclasses.dataclass(frozen=True)
class StepContext:
    """The paths, the spec and the toolchain that a step uses.

    :param layout: the data directory.
    :param spec: the declared step.
    :param toolchain: locations of the tools.
    :param work: directory in which the artifact is produced; kept between attempts; becomes the artifact.
    :param job_dir: directory of this job (log, progress, exit status); not part of the artifact.
    """

    layout: Layout
    spec: StepSpec
    toolchain: Toolchain
    work: str
    job_dir: str

    def upstream_path(self, kind: str) -> str:
        """Return the path of the artifact of an upstream step.

        For ``base`` this is the directory with the weights: the artifact itself, or the local directory
        it refers to.
        """
        return artifact_path(self.layout, kind, self.spec.upstream[kind])

    def upstream_results(self, kind: str) -> dict[str, t.Any]:
        """Return the results of an upstream step, from its receipt; still available after the artifact is pruned."""
        receipt = self.layout.receipt(kind, self.spec.upstream[kind]) or {}
        return dict(receipt.get("results") or {})

    @property
    def progress_file(self) -> str:
        """Path of the file to which a worker of the core writes its progress: one JSON object, replaced each time."""
        return os.path.join(self.job_dir, "progress.json")


def step_context(layout: Layout, spec: StepSpec, toolchain: Toolchain, job_dir: str = "") -> StepContext:
    """Create the context of a step.

    :param job_dir: directory of the job; empty when the step does not run.
    """
    return StepContext(layout, spec, toolchain, layout.work(spec.kind, spec.fingerprint), job_dir)


def data_dir_of(job_dir: str) -> str:
    """Return the data directory to which the directory of a job belongs."""
    return os.path.abspath(os.path.join(job_dir, *[os.pardir] * 4))


def load_run(job_dir: str) -> tuple[Layout, Run, str]:
    """Return the data directory, the run, and the label of the step for a job's directory.

    :raises StoreError: when the record of the run or of the job is missing or damaged.
    """
    run_dir = os.path.dirname(os.path.abspath(job_dir))
    layout = Layout(data_dir_of(job_dir))
    job = read_record(os.path.join(job_dir, JOB_FILE))
    if job is None:
        raise StoreError("runs.job_record_damaged", job_dir=job_dir)
    return layout, Run.from_dict(read_json(os.path.join(run_dir, RUN_FILE))), str(job.get("label"))


def load_context(job_dir: str) -> StepContext:
    """Load the context of the step of a job.

    :raises StoreError: when the record of the run or of the job is missing or damaged.
    """
    layout, run, label = load_run(job_dir)
    return step_context(layout, run.step(label).spec, run.toolchain, os.path.abspath(job_dir))
