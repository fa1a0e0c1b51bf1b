# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of responses that the REST interface adds to :mod:`application.schemas`."""

from __future__ import annotations

import typing as t

import pydantic

from ..application.schemas import Dataset, Event, Job, Machine, Model


class JobList(pydantic.BaseModel):
    """Jobs, active ones first in the order of the queue."""

    jobs: list[Job]


class State(JobList):
    """Jobs and the machine."""

    status: t.Literal["idle", "busy"]
    machine: Machine


class EventList(pydantic.BaseModel):
    """Events of a job, in order."""

    events: list[Event]


class DatasetList(pydantic.BaseModel):
    """Datasets by name."""

    datasets: list[Dataset]


class DatasetRows(Dataset):
    """A dataset with its first rows."""

    sample: list[str] = []


class ModelList(pydantic.BaseModel):
    """Registered models, the latest first."""

    models: list[Model]
