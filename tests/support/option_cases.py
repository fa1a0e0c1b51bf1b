# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of every option of a fine-tune with which a plan differs, and the host on which it does.

For tests of all options at once: an option is accepted with its effect, or refused by its name.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import (
    llamafactory_arguments,
    options,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import COMMIT, PlanLab, rows

GATE: dict[str, t.Any] = {"prompts": [{"prompt": "Who?", "contains": "homelab"}]}
#: An argument of LLaMA-Factory that the lab supports.
EXTRA = {"neftune_noise_alpha": 5}

#: Values of each option that are not its default.
VALUES: dict[str, tuple[t.Any, ...]] = {
    "name": ("other",),
    "base_model": ("qwen3:0.6b",),
    "base_revision": ("other",),
    "dataset": ("other-rows",),
    "system": ("Be brief.",),
    "parameters": ({"temperature": 0.5},),
    "aliases": (["v1"], []),
    "register": (False,),
    "memory_check": ("warn",),
    "preflight_check": ("warn",),
    "gate": (GATE,),
    "evaluation": ({"held_out": 0.2}, {"rows": "other-rows"}, {"guard": "general"}),
    "export": ("adapter",),
    "regenerate": ("never", "always"),
    "regenerate_on": (["hyperparameters"],),
    "keep": (2,),
    "keep_intermediates": (False,),
    "nodes": (["pc-a", "pc-b"],),
    "stage": ("pt", "dpo", "kto", "rm"),
    "method": ("full", "freeze", "qlora", "auto"),
    "epochs": (1.5,),
    "learning_rate": (1e-5,),
    "batch_size": (2,),
    "gradient_accumulation": (4,),
    "gpus": (2,),
    "cutoff_len": (512,),
    "max_samples": (5,),
    "template": ("llama3",),
    "tool_format": ("template", "house"),
    "thinking": ("keep",),
    "lora_rank": (8,),
    "lora_alpha": (8,),
    "lora_dropout": (0.1,),
    "lora_target": (["q_proj"],),
    "quantization_bit": (8, 4),
    "freeze_trainable_layers": (1,),
    "lr_scheduler": ("linear",),
    "warmup_ratio": (0.2,),
    "weight_decay": (0.1,),
    "validation_share": (0.2,),
    "early_stopping": (2,),
    "best_checkpoint": (True,),
    "held_out": (0.3,),
    "pref_loss": ("hinge",),
    "pref_beta": (0.2,),
    "pref_ftx": (0.5,),
    "simpo_gamma": (0.3,),
    "kto_chosen_weight": (2.0,),
    "kto_rejected_weight": (2.0,),
    "seed": (7,),
    "precision": ("fp32", "bf16"),
    "gradient_checkpointing": (False,),
    "logging_steps": (5,),
    "save_steps": (10,),
    "extra": (EXTRA,),
    "keep_merged": (True,),
    "quantizations": (["q8_0"], ["f16"], ["q4_K_M", "q8_0"]),
    "imatrix": ("dataset",),
}

#: What an option has its effect with, where the defaults leave it without.
NEEDS: dict[str, dict[str, t.Any]] = {
    "thinking": {"template": "qwen3"},
    "quantization_bit": {"method": "qlora"},
    "freeze_trainable_layers": {"method": "freeze"},
    "early_stopping": {"validation_share": 0.2},
    "best_checkpoint": {"validation_share": 0.2},
    "pref_loss": {"stage": "dpo", "dataset": "pairs"},
    "pref_beta": {"stage": "dpo", "dataset": "pairs"},
    "pref_ftx": {"stage": "dpo", "dataset": "pairs"},
    "simpo_gamma": {"stage": "dpo", "dataset": "pairs", "pref_loss": "simpo"},
    "kto_chosen_weight": {"stage": "kto", "dataset": "rated"},
    "kto_rejected_weight": {"stage": "kto", "dataset": "rated"},
}

#: The dataset of each stage but sft.
DATASETS = {"pt": "text", "dpo": "pairs", "kto": "rated", "rm": "pairs"}

#: The datasets of the host.
ROWS: dict[str, list[dict[str, t.Any]]] = {
    "homelab": rows(40),
    "other-rows": rows(40, 100),
    "pairs": [{"instruction": f"q{n}", "chosen": "b", "rejected": "c"} for n in range(40)],
    "rated": [{"instruction": f"q{n}", "output": "b", "kto_tag": bool(n % 2)} for n in range(40)],
    "text": [{"text": f"{n} some text " * 900} for n in range(40)],
}

#: Declarations in which options have an effect or are refused, as is the case for all others.
CONTEXTS: dict[str, dict[str, t.Any]] = {
    "nothing": {},
    "export: adapter": {"export": "adapter"},
    "register: false": {"register": False},
    "register: false, export: adapter": {"register": False, "export": "adapter"},
    **{f"stage: {stage}": {"stage": stage, "dataset": dataset} for stage, dataset in DATASETS.items()},
    "stage: rm, goal: train": {"stage": "rm", "dataset": "pairs", "goal": Goal.TRAIN},
    "goal: train": {"goal": Goal.TRAIN},
    **{f"method: {method}": {"method": method} for method in ("full", "freeze", "auto")},
    "two files": {"quantizations": ["q4_K_M", "q8_0"]},
    "f16": {"quantizations": ["f16"]},
    "no aliases": {"aliases": []},
    "gate": {"gate": GATE},
    "evaluation": {"evaluation": {"held_out": 0.2, "against": ["base"]}},
    "regenerate: never": {"regenerate": "never"},
    "best_checkpoint": {"validation_share": 0.2, "best_checkpoint": True},
    "lr_scheduler: constant": {"lr_scheduler": "constant"},
}


class OptionLab(PlanLab):
    """A host with a dataset for every stage and a second revision of the base."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(root)
        supported = llamafactory_arguments.LfArguments(dict.fromkeys(EXTRA, "float | None"), ("qwen",), "0.9.5")
        monkeypatch.setattr(llamafactory_arguments, "read_arguments", lambda _venv: supported)
        for name, records in ROWS.items():
            self.publish(name, records)
        path = Path(self.layout.parent("base"), "resolved.json")
        resolved = json.loads(path.read_text("utf-8"))
        name = "Qwen/Qwen2.5-0.5B-Instruct"
        resolved[f"{name}@other"] = {**resolved[f"{name}@main"], "commit": COMMIT[::-1]}
        resolved["Qwen/Qwen3-0.6B@main"] = resolved[f"{name}@main"]
        path.write_text(json.dumps(resolved), "utf-8")


def declared(option: str, value: t.Any) -> dict[str, t.Any]:
    """Return an option with what it has its effect with."""
    more = {"dataset": DATASETS[value]} if option == "stage" else {}
    return {**NEEDS.get(option, {}), option: value, **more}


def facts(run: Run) -> t.Any:
    """Return all of a run that its jobs depend on: the steps with their settings and options, and the goals."""
    return [[step.label, step.spec.as_dict()] for step in run.steps], list(run.goals)


def names_it(text: str, option: str) -> bool:
    """Whether a message names an option, by any of its names."""
    return any(name in text for name in options.BY_NAME[option].names)
