# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/metrics`` for Prometheus, computed at each request from the operations."""

from __future__ import annotations

import time
import typing as t

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from ..application.operations import Operations
from ..application.watcher import Watcher
from .access import READ
from .security import needs

_PREFIX = "ia_homelab_training"


class Metrics:
    """The metrics of the service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            f"{_PREFIX}_http_requests", "Requests that were answered.", ["method", "status"], registry=self.registry
        )


class _StoreCollector(Collector):
    def __init__(self, operations: Operations, watcher: Watcher) -> None:
        self.operations = operations
        self.watcher = watcher

    def collect(self) -> t.Iterable[Metric]:
        jobs = self.operations.list_jobs(0)
        states = GaugeMetricFamily(f"{_PREFIX}_jobs", "Jobs that have not ended.", labels=["status"])
        for status in ("queued", "running"):
            states.add_metric([status], sum(job.status == status for job in jobs))
        yield states
        ended = self.operations.engine.store.done_ids(1_000_000)
        yield GaugeMetricFamily(f"{_PREFIX}_jobs_ended", "Jobs that have ended and are kept.", value=len(ended))
        yield from self._progress(jobs)
        machine = self.operations.machine()
        total = GaugeMetricFamily(f"{_PREFIX}_gpu_memory_total_bytes", "Memory of a GPU.", labels=["gpu", "name"])
        free = GaugeMetricFamily(f"{_PREFIX}_gpu_memory_free_bytes", "What of it is free.", labels=["gpu", "name"])
        for gpu in machine.gpus:
            total.add_metric([str(gpu.index), gpu.name], gpu.total_bytes)
            free.add_metric([str(gpu.index), gpu.name], gpu.free_bytes)
        yield from (total, free)
        yield GaugeMetricFamily(f"{_PREFIX}_gpu_busy", "Whether a job has the machine.", value=bool(machine.holder))
        yield GaugeMetricFamily(f"{_PREFIX}_disk_free_bytes", "Room for results.", value=machine.disk_free_bytes)
        yield GaugeMetricFamily(
            f"{_PREFIX}_ollama_up", "Whether Ollama answers.", value=machine.loaded_models is not None
        )
        age = time.monotonic() - self.watcher.heartbeat
        yield GaugeMetricFamily(f"{_PREFIX}_loop_age_seconds", "Since the loop came round.", value=age)

    def _progress(self, jobs: t.Iterable[t.Any]) -> t.Iterable[Metric]:
        labels = ["job", "name", "step"]
        share = GaugeMetricFamily(f"{_PREFIX}_progress_ratio", "How far the step at work is.", labels=labels)
        loss = GaugeMetricFamily(f"{_PREFIX}_loss", "The last loss of a training.", labels=labels)
        for job in jobs:
            if job.progress is None:
                continue
            names = [job.job_id, job.name, job.current_step]
            if job.progress.total:
                share.add_metric(names, min(1.0, job.progress.current / job.progress.total))
            if job.progress.loss is not None:
                loss.add_metric(names, job.progress.loss)
        return share, loss


def add_metrics(app: FastAPI, operations: Operations, watcher: Watcher) -> None:
    """Add ``/metrics`` to an application; ``app.state.metrics`` counts its responses."""
    figures = Metrics()
    figures.registry.register(_StoreCollector(operations, watcher))
    app.state.metrics = figures

    @app.get("/metrics", dependencies=[needs(READ)], include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(figures.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
