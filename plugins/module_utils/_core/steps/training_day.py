# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The day of a training, which LLaMA-Factory writes into the description of tools (template llama3)."""

from __future__ import annotations

import datetime

from ..releases.lineage import ancestry
from ..runs.job_context import StepContext
from ..system.clock import parse_utc

#: English names, whatever the locale: LLaMA-Factory sets none.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def training_day(ctx: StepContext) -> str:
    """The day on which the training behind a step began, on the clock of this host, such as ``05 Mar 2026``.

    :returns: the day; empty if there is no receipt of a training.
    """
    receipts = ancestry(ctx.layout, {"kind": ctx.spec.kind, "upstream": dict(ctx.spec.upstream)})
    started = str((receipts.get("train") or {}).get("started_at") or "")
    try:
        day = datetime.datetime.fromtimestamp(parse_utc(started))
    except ValueError:
        return ""
    return f"{day.day:02d} {_MONTHS[day.month - 1]} {day.year}"
