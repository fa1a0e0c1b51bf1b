# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that an adapter changes, as LLaMA-Factory is told."""

from __future__ import annotations

import os
import typing as t

from ..system.files import read_json

#: Linear modules by ``model_type``, of architectures with experts that are no linear modules, but have a name that a
#: linear one has as well. LLaMA-Factory takes all modules of such a name for ``all``, and PEFT refuses the experts.
_BESIDE_EXPERTS = {
    "granitemoehybrid": (
        "q_proj", "k_proj", "v_proj", "o_proj", "in_proj", "out_proj", "layer",
        "shared_mlp.input_linear", "shared_mlp.output_linear",
    ),
}  # fmt: skip


def named_targets(base: str, targets: t.Sequence[str]) -> list[str]:
    """Return the names of modules for LLaMA-Factory's ``lora_target``.

    :param base: directory of the base model.
    :param targets: names as declared; ``all`` stands for all linear modules.
    """
    config = read_json(os.path.join(base, "config.json")) or {}
    names = _BESIDE_EXPERTS.get(str(config.get("model_type") or ""), ())
    if "all" not in targets or not names or not config.get("num_local_experts"):
        return list(targets)
    return list(names)
