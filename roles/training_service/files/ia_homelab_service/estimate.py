# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fine-tune would take, against what there is."""

from __future__ import annotations

import dataclasses
import typing as t

from ia_homelab_core import _gpu
from ia_homelab_core._files import free_bytes
from ia_homelab_core._layout import Layout
from ia_homelab_core._run import Run

from .jobs import step_of
from .shapes import Estimate


def estimate(layout: Layout, run: Run) -> Estimate:
    """What a run would take; what cannot be told is None."""
    base = step_of(run, "base")
    gpus = _gpu.gpus()
    largest = max(gpus, key=lambda gpu: gpu.total_bytes, default=None)
    weights = int((base.options.get("bytes") or 0) if base else 0)
    details: dict[str, t.Any] = {"weights_bytes": weights or None}
    if base and base.options.get("shape"):
        details["shape"] = base.options["shape"]
    if largest:
        details["gpu"] = dataclasses.asdict(largest)
    return Estimate(
        vram_total_bytes=largest.total_bytes if largest else None,
        vram_free_bytes=largest.free_bytes if largest else None,
        disk_free_bytes=free_bytes(layout.root),
        details={key: value for key, value in details.items() if value is not None},
    )
