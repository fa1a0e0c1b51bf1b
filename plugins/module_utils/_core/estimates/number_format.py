# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The number format of a training on this host: what ``precision: auto`` means, and whether the GPU can compute in it.

A GPU computes in bf16 from compute capability 8.0 on (CUDA C++ Programming Guide, "Arithmetic instructions"): T4,
RTX 20 and V100 have fp16 only. Like ``method: auto``, the decision is stored for a training and kept: a training that
was interrupted continues in the same format. It is no part of the fingerprint, because it follows from the host.
"""

from __future__ import annotations

import os

from ..artifacts.layout import Layout
from ..errors import InputError
from ..messages.message import Message
from ..system.clock import utc_now
from ..training.hyperparameters import Hyperparameters
from .decisions import read_decisions, write_decision
from .host import Machine, Subject, train_fingerprint

#: The first compute capability with bf16.
BF16_CAPABILITY = (8, 0)


def resolve(
    layout: Layout, hyper: Hyperparameters, subject: Subject, machine: Machine, name: str, write: bool
) -> tuple[str, Message | None]:
    """Return the number format to train in: ``bf16``, ``fp16`` or ``fp32``; on a CPU ``auto`` stays, and is fp32.

    Of ``precision: auto`` on a GPU, in this order: that of the existing training, the stored decision, a new one: bf16,
    or fp16 if the GPU has no bf16. A driver that does not report the GPU counts as one with bf16.

    :param hyper: hyperparameters with a concrete method.
    :param name: name of the fine-tune, for the error.
    :param write: whether a new decision may be stored.
    :returns: the format, and a warning if auto is fp16; None otherwise.
    :raises InputError: if the training would need bf16 and the GPU has none.
    """
    declared = str(hyper["precision"])
    fingerprint = train_fingerprint(layout, hyper, subject)
    receipt = layout.receipt("train", fingerprint)
    if receipt is not None:  # done: neither the driver is queried nor anything refused
        trained = ((receipt.get("options") or {}).get("resolved") or {}).get("precision")
        return (str(trained or declared) if declared == "auto" else declared), None
    if machine.accelerator != "cuda":
        return declared, None  # auto is fp32 there, whatever the host
    capability = machine.compute_capability(hyper["gpus"])
    pure = bool(hyper.extra.get("pure_bf16"))
    chosen = declared
    if declared == "auto":
        path = _decisions_file(layout)
        stored = read_decisions(path).get(fingerprint)
        chosen = str(stored.get("precision")) if isinstance(stored, dict) else ""
        if chosen not in ("bf16", "fp16"):
            chosen = "bf16" if pure or _has_bf16(capability) is not False else "fp16"
            if write and capability is not None:
                decision = {"precision": chosen, "capability": _text(capability), "decided_at": utc_now()}
                write_decision(path, fingerprint, decision)
        if chosen == "fp16":
            return chosen, Message("estimates.fp16_chosen")
    if (chosen == "bf16" or pure) and _has_bf16(capability) is False:
        option = "extra.pure_bf16" if pure else "precision"
        raise InputError("estimates.no_bf16", name=name, option=option, capability=_text(capability))
    return chosen, None


def _has_bf16(capability: tuple[int, int] | None) -> bool | None:
    """Whether a GPU computes in bf16; None if this is unknown."""
    return None if capability is None else capability >= BF16_CAPABILITY


def _text(capability: tuple[int, int] | None) -> str:
    return ".".join(map(str, capability or ()))


def _decisions_file(layout: Layout) -> str:
    return os.path.join(layout.parent("train"), "precisions.json")
