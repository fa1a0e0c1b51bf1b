# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of all options of a fine-tune: names, types, bounds, defaults, and their names in other interfaces.

Argument specs, REST and MCP schemas and the keys of LLaMA-Factory's configuration are derived from it.
Never change a default here: settings at their default are not part of a fingerprint, so a new default would silently
change future trainings and retrain none of the existing ones. Add a new option for a better default.
"""

from __future__ import annotations

import dataclasses
import typing as t

#: Training methods; ``auto`` is resolved to one of the others before the training.
METHODS = ("lora", "qlora", "full", "freeze", "auto")
#: Methods that train an adapter.
ADAPTERS = ("lora", "qlora")
#: Stages of LLaMA-Factory (see ``training.stages`` for their datasets). Its ppo is not supported: it needs a reward
#: model during the training.
STAGES = ("sft", "pt", "rm", "dpo", "kto")

_PROMPT_TUNING_REASON = (
    "LLaMA-Factory has no prompt tuning, and soft prompts cannot go into a GGUF file, which holds weights only."
)
_PROMPT_TUNING_ALTERNATIVE = "The nearest method is lora with a low rank: method: lora, lora_rank: 4."

#: Unsupported method names that users try → the reason, and the closest supported method.
REFUSED_METHODS: dict[str, tuple[str, str]] = dict.fromkeys(
    (
        "prompt_tuning",
        "prompttuning",
        "prompt",
        "p_tuning",
        "ptuning",
        "p_tuning_v2",
        "prefix_tuning",
        "prefixtuning",
        "prefix",
        "soft_prompt",
        "soft_prompts",
    ),
    (_PROMPT_TUNING_REASON, _PROMPT_TUNING_ALTERNATIVE),
)


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a fine-tune.

    :param name: name in a declaration.
    :param type: ``int``, ``float``, ``str``, ``bool``, ``list`` (of strings) or ``dict``.
    :param default: value when it is not declared; None for no value (or one derived from other options).
    :param description: one sentence for users.
    :param minimum: inclusive lower bound.
    :param maximum: inclusive upper bound.
    :param exclusive_minimum: exclusive lower bound.
    :param choices: allowed values; empty for any.
    :param aliases: alternative names (LLaMA-Factory's, those of the REST contract).
    :param changes_result: whether another value gives another result; such options enter the fingerprint.
    :param lf_argument: LLaMA-Factory's key; empty when there is no direct counterpart.
    :param methods: methods it applies to; empty for all.
    :param stages: stages it applies to; empty for all.
    :param step: the step it belongs to: ``train`` or ``gguf``.
    """

    name: str
    type: str
    default: t.Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    choices: tuple[t.Any, ...] = ()
    aliases: tuple[str, ...] = ()
    changes_result: bool = True
    lf_argument: str = ""
    methods: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    step: str = "train"

    def applies(self, method: str, stage: str) -> bool:
        """Whether the option applies to a method and a stage."""
        return (not self.methods or method in self.methods) and (not self.stages or stage in self.stages)


OPTIONS: tuple[Option, ...] = (
    Option(
        "stage",
        "str",
        "sft",
        "Kind of training: on answers (sft), on pairs of them (dpo), on answers that were liked or not (kto), on text "
        "(pt), or of a reward model (rm).",
        choices=STAGES,
        lf_argument="stage",
    ),
    Option(
        "method",
        "str",
        "lora",
        "What is trained: a small adapter (lora), one over weights in 4 bits (qlora), some layers (freeze), everything "
        "(full), or what suits the GPU (auto).",
        choices=METHODS,
        aliases=("training_method",),
        lf_argument="finetuning_type",
    ),
    Option(
        "epochs",
        "float",
        3.0,
        "How often each row is seen.",
        exclusive_minimum=0,
        maximum=1000,
        aliases=("num_epochs", "num_train_epochs", "n_epochs"),
        lf_argument="num_train_epochs",
    ),
    Option(
        "learning_rate",
        "float",
        2e-4,
        "Peak learning rate.",
        exclusive_minimum=0,
        maximum=1,
        aliases=("lr",),
        lf_argument="learning_rate",
    ),
    Option(
        "batch_size",
        "int",
        1,
        "Rows on the GPU at a time.",
        minimum=1,
        maximum=4096,
        aliases=("per_device_train_batch_size",),
        lf_argument="per_device_train_batch_size",
    ),
    Option(
        "gradient_accumulation",
        "int",
        8,
        "Batches that make one step together.",
        minimum=1,
        maximum=65536,
        aliases=("gradient_accumulation_steps",),
        lf_argument="gradient_accumulation_steps",
    ),
    Option(
        "cutoff_len",
        "int",
        2048,
        "Longest row in tokens; what is longer is cut off.",
        minimum=16,
        maximum=1048576,
        aliases=("max_length",),
        lf_argument="cutoff_len",
    ),
    Option("max_samples", "int", None, "Use only so many rows.", minimum=1, lf_argument="max_samples"),
    Option(
        "template",
        "str",
        None,
        "LLaMA-Factory's chat template; that of the base model when not declared.",
        aliases=("chat_template",),
        lf_argument="template",
    ),
    Option(
        "lora_rank",
        "int",
        16,
        "Rank of the adapter.",
        minimum=1,
        maximum=4096,
        aliases=("rank",),
        lf_argument="lora_rank",
        methods=ADAPTERS,
    ),
    Option(
        "lora_alpha",
        "int",
        None,
        "Scale of the adapter; twice the rank when not declared.",
        minimum=1,
        maximum=65536,
        lf_argument="lora_alpha",
        methods=ADAPTERS,
    ),
    Option(
        "lora_dropout",
        "float",
        0.0,
        "Share of the adapter's inputs that is dropped while training.",
        minimum=0,
        maximum=0.99,
        lf_argument="lora_dropout",
        methods=ADAPTERS,
    ),
    Option(
        "lora_target",
        "list",
        ("all",),
        "Modules that get an adapter; all for every linear one.",
        lf_argument="lora_target",
        methods=ADAPTERS,
    ),
    Option(
        "quantization_bit",
        "int",
        4,
        "Bits of the base's weights while qlora trains.",
        choices=(4, 8),
        lf_argument="quantization_bit",
        methods=("qlora",),
    ),
    Option(
        "freeze_trainable_layers",
        "int",
        2,
        "How many of the last layers freeze trains; negative for the first ones.",
        minimum=-1000,
        maximum=1000,
        lf_argument="freeze_trainable_layers",
        methods=("freeze",),
    ),
    Option(
        "lr_scheduler",
        "str",
        "cosine",
        "How the learning rate goes down.",
        choices=(
            "cosine",
            "linear",
            "constant",
            "constant_with_warmup",
            "cosine_with_restarts",
            "polynomial",
            "inverse_sqrt",
        ),
        aliases=("lr_scheduler_type",),
        lf_argument="lr_scheduler_type",
    ),
    Option(
        "warmup_ratio",
        "float",
        0.1,
        "Share of the steps in which the learning rate goes up.",
        minimum=0,
        maximum=0.9,
        lf_argument="warmup_ratio",
    ),
    Option(
        "weight_decay", "float", 0.0, "Pull of the weights to zero.", minimum=0, maximum=1, lf_argument="weight_decay"
    ),
    Option(
        "validation_share",
        "float",
        0.0,
        "Share of the rows that is not trained on but looked at after each epoch (eval_loss). A row is chosen by what "
        "it asks, so it stays where it is as the dataset grows.",
        minimum=0,
        maximum=0.5,
    ),
    Option(
        "pref_loss",
        "str",
        "sigmoid",
        "Loss of dpo; sigmoid is DPO itself. For orpo and simpo no copy of the base is needed beside.",
        choices=("sigmoid", "hinge", "ipo", "kto_pair", "orpo", "simpo"),
        lf_argument="pref_loss",
        stages=("dpo",),
    ),
    Option(
        "pref_beta",
        "float",
        0.1,
        "How closely the model stays to its base.",
        exclusive_minimum=0,
        maximum=100,
        lf_argument="pref_beta",
        stages=("dpo", "kto"),
    ),
    Option(
        "pref_ftx",
        "float",
        0.0,
        "Weight of the loss of sft on the better answer, added to that of the preference.",
        minimum=0,
        maximum=100,
        lf_argument="pref_ftx",
        stages=("dpo", "kto"),
    ),
    Option(
        "simpo_gamma",
        "float",
        0.5,
        "Margin by which simpo wants the better answer to win.",
        minimum=0,
        maximum=100,
        lf_argument="simpo_gamma",
        stages=("dpo",),
    ),
    Option(
        "kto_chosen_weight",
        "float",
        1.0,
        "Weight of the answers that were liked.",
        minimum=0,
        maximum=1000,
        lf_argument="kto_chosen_weight",
        stages=("kto",),
    ),
    Option(
        "kto_rejected_weight",
        "float",
        1.0,
        "Weight of the answers that were not liked.",
        minimum=0,
        maximum=1000,
        lf_argument="kto_rejected_weight",
        stages=("kto",),
    ),
    Option("seed", "int", 42, "Start of all that is random.", minimum=0, maximum=4294967295, lf_argument="seed"),
    Option(
        "precision",
        "str",
        "auto",
        "Numbers to compute with; auto is bf16 on a GPU and fp32 on a CPU.",
        choices=("auto", "bf16", "fp16", "fp32"),
    ),
    Option(
        "gradient_checkpointing",
        "bool",
        True,
        "Compute parts of a step twice instead of keeping them in memory.",
        changes_result=False,
    ),
    Option(
        "logging_steps",
        "int",
        1,
        "Steps between two lines of the training log.",
        minimum=1,
        maximum=100000,
        changes_result=False,
        lf_argument="logging_steps",
    ),
    Option(
        "save_steps",
        "int",
        50,
        "Steps between two checkpoints, from which an interrupted training resumes.",
        minimum=1,
        maximum=1000000,
        changes_result=False,
        lf_argument="save_steps",
    ),
    Option("extra", "dict", {}, "More arguments of LLaMA-Factory, by its own names."),
    Option(
        "quantizations",
        "list",
        ("q4_K_M",),
        "Types of the GGUF files; the first one is what the model's name stands for.",
        aliases=("quantization",),
        step="gguf",
    ),
)

#: Defaults of the options by name.
DEFAULTS = {option.name: option.default for option in OPTIONS}

#: GGUF types that llama-quantize creates (source: QUANT_OPTIONS of llama.cpp's ``tools/quantize``), without those that
#: need an importance matrix.
QUANTIZATIONS = (
    "f32",
    "f16",
    "bf16",
    "q8_0",
    "q6_K",
    "q5_K_M",
    "q5_K_S",
    "q5_1",
    "q5_0",
    "q4_K_M",
    "q4_K_S",
    "q4_1",
    "q4_0",
    "iq4_NL",
    "iq4_XS",
    "q3_K_L",
    "q3_K_M",
    "q3_K_S",
    "q2_K",
)
#: Those that are converted directly from the merged weights; all others are quantized from f16.
DIRECT_QUANTIZATIONS = ("f16", "bf16", "f32")
#: Short names that llama-quantize accepts for the common variant.
QUANTIZATION_ALIASES = {
    "fp16": "f16",
    "fp32": "f32",
    "q8": "q8_0",
    "q6": "q6_K",
    "q5_k": "q5_K_M",
    "q4_k": "q4_K_M",
    "q3_k": "q3_K_M",
}

#: Arguments of LLaMA-Factory that this program sets itself → the option to use instead; empty when there is none.
MANAGED_ARGUMENTS: dict[str, str] = {
    "model_name_or_path": "base_model",
    "dataset": "dataset",
    "bf16": "precision",
    "fp16": "precision",
    "disable_gradient_checkpointing": "gradient_checkpointing",
    "warmup_steps": "warmup_ratio",
    "adapter_name_or_path": "",
    "cache_dir": "",
    "dataset_dir": "",
    "do_eval": "",
    "do_predict": "",
    "do_train": "",
    "enable_jit_checkpoint": "",
    "eval_dataset": "validation_share",
    "export_dir": "",
    "hf_hub_token": "token_file",
    "hub_token": "token_file",
    "include_num_input_tokens_seen": "",
    "logging_dir": "",
    "logging_strategy": "logging_steps",
    "media_dir": "",
    "ms_hub_token": "",
    "om_hub_token": "",
    "output_dir": "",
    "overwrite_output_dir": "",
    "plot_loss": "",
    "push_to_hub": "",
    "push_to_hub_token": "",
    "report_to": "",
    "resume_from_checkpoint": "",
    "save_only_model": "",
    "save_strategy": "save_steps",
    "save_total_limit": "",
    "tokenized_path": "",
    "use_cpu": "accelerator",
    "val_size": "validation_share",
}
