# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step retain: applies the declared retention policy of a fine-tune, as its last step, after the model is served."""

from __future__ import annotations

import os
import typing as t

from ..messages.message import Message
from ..ollama.client import Ollama
from ..releases.retention import Policy, Surplus, deferred, prune, surplus
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..system.files import read_json, write_json
from ..system.log import log_line
from .step import DRIFT_TIMEOUT, Step
from .worker_command import worker_command

_RECORD = "pruned.json"


class RetainStep(Step):
    """Prunes the versions of ``options["name"]`` by the policy in ``settings`` (:class:`releases.retention.Policy`).

    ``results``: ``pruned`` and ``deferred`` (kept because an active run uses it; the run of the next version removes
    it), each with ``kind``, ``name`` and ``bytes``, and ``freed_bytes``.
    """

    kind = "retain"
    exclusive = False
    uses_ollama = True

    def command(self, ctx: StepContext) -> Command:
        os.makedirs(ctx.work, exist_ok=True)
        return worker_command(ctx)

    def perform(self, ctx: StepContext) -> None:
        path = os.path.join(ctx.work, _RECORD)
        ollama, fingerprint = Ollama(ctx.toolchain.ollama_address), ctx.spec.fingerprint
        # must be computed before pruning: an artifact whose run ends in between would be in neither list
        deferred_items = deferred(ctx.layout, _name(ctx), _policy(ctx), ollama.tags(), fingerprint)
        removed = prune(ctx.layout, _name(ctx), _policy(ctx), ollama, fingerprint)
        for item in removed:
            log_line(f"Removed: {item.description()}")
        earlier = read_json(path, {}).get("pruned") or []
        write_json(path, {"pruned": [*earlier, *map(_as_dict, removed)], "deferred": [*map(_as_dict, deferred_items)]})

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        record = read_json(os.path.join(ctx.work, _RECORD), {})
        removed = record.get("pruned") or []
        freed = sum(item["bytes"] for item in removed)
        return {"pruned": removed, "deferred": record.get("deferred") or [], "freed_bytes": freed}

    def drift(self, ctx: StepContext) -> list[Message]:
        models = Ollama(ctx.toolchain.ollama_address, timeout=DRIFT_TIMEOUT).tags()
        receipt = ctx.layout.receipt(self.kind, ctx.spec.fingerprint) or {}
        deferred_items = {(item["kind"], item["name"]) for item in (receipt.get("results") or {}).get("deferred") or []}
        items = surplus(ctx.layout, _name(ctx), _policy(ctx), models, ctx.spec.fingerprint)
        surplus_items = [item for item in items if (item.kind, item.name) not in deferred_items]
        return [Message("steps.surplus", description=item.description()) for item in surplus_items]


def _as_dict(item: Surplus) -> dict[str, t.Any]:
    return {"kind": item.kind, "name": item.name, "bytes": item.bytes}


def _name(ctx: StepContext) -> str:
    return str(ctx.spec.options["name"])


def _policy(ctx: StepContext) -> Policy:
    return Policy.from_settings(ctx.spec.settings)
