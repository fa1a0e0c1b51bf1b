# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of all options of a fine-tune: names, types, bounds, defaults, and their names in other interfaces.

Everything else about an option follows from its row: validation, argument specs, the JSON schema of REST and MCP, the
English help of the page, and the keys of LLaMA-Factory's configuration. ``tests/option_docs.py`` writes documentation.

Never change a default here: settings at their default are not part of a fingerprint, so a new default would silently
change future trainings and retrain none of the existing ones. Add a new option for a better default.
"""

from __future__ import annotations

import typing as t

from ..evaluations.shares import LARGEST_SHARE
from .option import ADAPTERS, METHODS, STAGES, Option

#: Schedules that begin with a warm-up.
_WARMING_UP = ("cosine", "linear", "constant_with_warmup", "cosine_with_restarts", "polynomial", "inverse_sqrt")

# fmt: off
#: All options, in the order in which they are documented.
ALL: tuple[Option, ...] = (
    Option(
        "name", "text", None, "Name",
        "Name of the fine-tune and of its model in Ollama, without a tag.",
        step="run", required=True, usual=True,
    ),
    Option(
        "base_model", "text", None, "Base model",
        "Ollama-style name (qwen2.5:7b), Hugging Face id, or absolute path of a directory on the host.",
        step="base", required=True, aliases=("model_name", "model"),
    ),
    Option(
        "base_revision", "text", "main", "Revision of the base model",
        "Branch, tag or commit of the Hugging Face repository.",
        step="base", aliases=("revision",),
    ),
    Option(
        "dataset", "text", None, "Dataset",
        "Name of a dataset. The path of a file stands for its name: /app/data/NAME.json is the dataset NAME.",
        step="dataset", required=True, aliases=("dataset_path",),
    ),
    Option(
        "system", "text", None, "System prompt",
        "System prompt of the served model; by default that of the training data.",
        step="register", usual=True,
    ),
    Option(
        "parameters", "dict", {}, "Parameters of the served model",
        "Ollama parameters of the served model, such as temperature or num_ctx.",
        step="register",
    ),
    Option(
        "aliases", "list", ("latest",), "Tags",
        "Tags that are moved to the model with the first of the quantizations.",
        step="register", changes_result=False,
    ),
    Option(
        "register", "bool", True, "Register in Ollama",
        "Whether the model is registered in Ollama. If not, the run ends at the GGUF files.",
        step="register", changes_result=False,
    ),
    Option(
        "memory_check", "str", "enforce", "If memory is short",
        "Handling of a training whose estimate does not fit the GPU or the machine: refuse it and name the "
        "nearest setting that fits (enforce), or try it nevertheless (warn).",
        choices=("enforce", "warn"), step="run", changes_result=False,
    ),
    Option(
        "preflight_check", "str", "enforce", "If disk or Ollama is missing",
        "Handling of a fine-tune that cannot finish on the host as it is now, because the disk is too small for the "
        "steps still to be made or Ollama does not answer: refuse it before anything runs (enforce), or start it "
        "nevertheless, with a warning (warn).",
        choices=("enforce", "warn"), step="run", changes_result=False,
    ),
    Option(
        "gate", "dict", {}, "Gate",
        "Questions with expectations that the answers of the new model must meet before its aliases are moved to "
        "it. Keys: prompts, and optionally tools, options, allowed_failures and no_regression. With another gate the "
        "questions are asked again, and nothing is trained or registered.",
        step="promote", changes_result=False,
    ),
    Option(
        "evaluation", "dict", {}, "Evaluation",
        "How the new model is measured before its aliases are moved to it. Keys: held_out (share of the questions that "
        "is not trained on) or rows (a dataset that is not trained on), against (served, base), guard (general, or a "
        "dataset), judge, require, choose (declared, smallest) and likelihood. held_out changes the rows of the "
        "training, which is repeated; with anything else, only questions without an answer are asked.",
        step="evaluate", changes_result=False,
    ),
    Option(
        "export", "str", "merged", "Export format",
        "Whether the trained adapter is merged into the weights of its base (merged), or converted to a GGUF file"
        " of its own that Ollama loads on top of the base (adapter). With adapter, no merged weights are written,"
        " and the base is converted once for all its fine-tunes. adapter requires the method lora or qlora.",
        choices=("merged", "adapter"), step="run",
    ),
    Option(
        "regenerate", "str", "on_change", "Retrain",
        "When to retrain: if an input in regenerate_on has changed (on_change), not once there is a training "
        "(never), or on every apply (always).",
        choices=("on_change", "never", "always"), step="run",
    ),
    Option(
        "regenerate_on", "list", ("dataset", "hyperparameters", "base"), "Retrain if this changes",
        "Inputs whose change leads to a new training. Any other input keeps its value of the last training.",
        choices=("dataset", "hyperparameters", "base"), step="run", needs=("regenerate", ("on_change", "always")),
    ),
    Option(
        "keep", "int", None, "Versions kept",
        "Number of latest versions of the model to keep; by default all. The served version, the one before it, "
        "and those that a rollback holds are always kept.",
        minimum=1, step="retain", changes_result=False,
    ),
    Option(
        "keep_intermediates", "bool", True, "Keep intermediate files",
        "Whether merged weights and 16-bit GGUF files are kept after the model is registered.",
        step="retain", changes_result=False,
    ),
    Option(
        "nodes", "list", None, "Hosts",
        "Hosts or groups of the inventory that train the model together. The first one leads and makes everything"
        " after the training. The number of hosts is part of the training. With one host, that host makes the "
        "model alone.",
        step="run", inventory_only=True,
    ),
    Option(
        "stage", "str", "sft", "Kind of training",
        "Kind of training: on answers (sft), on pairs of answers (dpo), on answers rated desired or undesired "
        "(kto), on text (pt), or of a reward model (rm). A dataset of another kind is refused. ORPO and SimPO are"
        " dpo with another pref_loss. With rm the run ends at the trained adapter and value head, and nothing is "
        "registered.",
        choices=STAGES, lf_argument="stage", explained=True, usual=True,
    ),
    Option(
        "method", "str", "lora", "Method",
        "Weights that are trained: a small adapter (lora), an adapter on a 4-bit base (qlora), some layers "
        "(freeze), all weights (full), or the method that fits the GPU (auto). Prompt tuning is refused with the "
        "reason.",
        choices=METHODS, aliases=("training_method",), lf_argument="finetuning_type", explained=True,
    ),
    Option(
        "epochs", "float", 3.0, "Epochs",
        "Number of passes over the rows.",
        maximum=1000, exclusive_minimum=0, aliases=("num_epochs", "num_train_epochs", "n_epochs"),
        lf_argument="num_train_epochs", usual=True,
    ),
    Option(
        "learning_rate", "float", 2e-4, "Learning rate",
        "Peak learning rate.",
        maximum=1, exclusive_minimum=0, aliases=("lr",), lf_argument="learning_rate", usual=True,
    ),
    Option(
        "batch_size", "int", 1, "Batch size",
        "Rows on the GPU at the same time.",
        minimum=1, maximum=4096, aliases=("per_device_train_batch_size",), lf_argument="per_device_train_batch_size",
        usual=True,
    ),
    Option(
        "gradient_accumulation", "int", 8, "Gradient accumulation",
        "Batches that are accumulated for one optimizer step.",
        minimum=1, maximum=65536, aliases=("gradient_accumulation_steps",),
        lf_argument="gradient_accumulation_steps", usual=True,
    ),
    Option(
        "gpus", "int", 1, "GPUs",
        "GPUs of each host that train together, those with the most memory. Each holds a complete copy and takes a "
        "share of gradient_accumulation, which must be a multiple, so an optimizer step has as many rows as with one.",
        minimum=1, maximum=64,
    ),
    Option(
        "cutoff_len", "int", 2048, "Maximum length of a row",
        "Maximum length of a row in tokens; longer rows are truncated.",
        minimum=16, maximum=1048576, aliases=("max_length",), lf_argument="cutoff_len", usual=True,
    ),
    Option(
        "max_samples", "int", None, "Maximum number of rows",
        "Maximum number of rows to use.",
        minimum=1, lf_argument="max_samples",
    ),
    Option(
        "template", "str", None, "Chat template",
        "LLaMA-Factory's chat template; by default that of the base model in the catalogue or in LLaMA-Factory's "
        "table. Required for other base models, and for directories.",
        aliases=("chat_template",), lf_argument="template", usual=True,
    ),
    Option(
        "tool_format", "str", "auto", "Tool format",
        "How tools and calls of tools are written for the model: as the chat template does (template), in the format "
        "of this collection, which Ollama reads back with every template but gpt_oss (house), or the one of them from "
        "which Ollama reads back every call (auto). auto is template if no row has tools.",
        choices=("auto", "template", "house"), stages=("sft", "dpo", "kto", "rm"),
    ),
    Option(
        "thinking", "str", "from_rows", "Thinking",
        "Whether the model writes a thought before its answer: thoughts of the rows are trained and served as such, "
        "and a row without one gets an empty one (keep); thoughts are removed from the rows, and the model is served "
        "without thinking (off); keep if a row has a thought, else off (from_rows).",
        choices=("from_rows", "keep", "off"), stages=("sft", "dpo", "kto", "rm"),
    ),
    Option(
        "lora_rank", "int", 16, "Rank",
        "Rank of the adapter.",
        minimum=1, maximum=4096, aliases=("rank",), lf_argument="lora_rank", methods=ADAPTERS, usual=True,
    ),
    Option(
        "lora_alpha", "int", None, "Alpha",
        "Scale of the adapter; by default twice the rank.",
        minimum=1, maximum=65536, lf_argument="lora_alpha", methods=ADAPTERS, usual=True,
    ),
    Option(
        "lora_dropout", "float", 0.0, "Dropout",
        "Share of the adapter's inputs that is dropped during training.",
        minimum=0, maximum=0.99, lf_argument="lora_dropout", methods=ADAPTERS,
    ),
    Option(
        "lora_target", "list", ("all",), "Adapted modules",
        "Modules that get an adapter; all for every linear module.",
        lf_argument="lora_target", methods=ADAPTERS,
    ),
    Option(
        "quantization_bit", "int", 4, "Bits of the base",
        "Bits of the base's weights during a qlora training; 4 by default.",
        choices=(4, 8), lf_argument="quantization_bit", methods=("qlora",), decides_method=True,
    ),
    Option(
        "freeze_trainable_layers", "int", 2, "Layers trained by freeze",
        "Number of last layers that freeze trains; negative for the first layers.",
        minimum=-1000, maximum=1000, lf_argument="freeze_trainable_layers", methods=("freeze",),
    ),
    Option(
        "lr_scheduler", "str", "cosine", "Learning rate schedule",
        "Schedule by which the learning rate decreases.",

        choices=("cosine", "linear", "constant", *_WARMING_UP[2:]),
        aliases=("lr_scheduler_type",), lf_argument="lr_scheduler_type",
    ),
    Option(
        "warmup_ratio", "float", 0.1, "Warm-up",
        "Share of the steps in which the learning rate increases.",
        minimum=0, maximum=0.9, lf_argument="warmup_ratio", needs=("lr_scheduler", _WARMING_UP),
    ),
    Option(
        "weight_decay", "float", 0.0, "Weight decay",
        "Weight decay towards zero.",
        minimum=0, maximum=1, lf_argument="weight_decay",
    ),
    Option(
        "validation_share", "float", 0.0, "Validation share",
        "Share of the rows that is held back from training and evaluated after each epoch (eval_loss). A row is "
        "selected by its question, so the selection is stable as the dataset grows.",
        minimum=0, maximum=LARGEST_SHARE, usual=True,
    ),
    Option(
        "early_stopping", "int", None, "Early stopping",
        "Evaluations in a row without a lower validation loss after which the training ends; by default it ends with "
        "its epochs. Requires validation_share.",
        minimum=1, maximum=1000, requires="validation_share",
    ),
    Option(
        "best_checkpoint", "bool", False, "Best checkpoint",
        "Whether the result is the checkpoint with the lowest validation loss instead of the last one. Checkpoints are "
        "then written at each evaluation instead of every save_steps. Requires validation_share.",
        stages=("sft", "pt", "dpo", "kto"), requires="validation_share",
    ),
    Option(
        "held_out", "float", 0.0, "Share held out",
        "Share of the rows that is neither trained on nor validated on, to measure the model with them. A row is "
        "selected by its question, so the selection is stable as the dataset grows.",
        minimum=0, maximum=LARGEST_SHARE, stages=("sft", "dpo", "kto"),
    ),
    Option(
        "pref_loss", "str", "sigmoid", "Preference loss",
        "Loss of dpo; sigmoid is DPO itself. orpo and simpo need no second copy of the base.",
        choices=("sigmoid", "hinge", "ipo", "kto_pair", "orpo", "simpo"), lf_argument="pref_loss", stages=("dpo",),
    ),
    Option(
        "pref_beta", "float", 0.1, "Preference beta",
        "Strength with which the model is kept close to its base.",
        maximum=100, exclusive_minimum=0, lf_argument="pref_beta", stages=("dpo", "kto"),
    ),
    Option(
        "pref_ftx", "float", 0.0, "Weight of the sft loss",
        "Weight of the sft loss on the preferred answer, added to the preference loss.",
        minimum=0, maximum=100, lf_argument="pref_ftx", stages=("dpo", "kto"),
    ),
    Option(
        "simpo_gamma", "float", 0.5, "Target margin of simpo",
        "Target margin of simpo between the preferred and the rejected answer.",
        minimum=0, maximum=100, lf_argument="simpo_gamma", stages=("dpo",), needs=("pref_loss", ("simpo",)),
    ),
    Option(
        "kto_chosen_weight", "float", 1.0, "Weight of desired answers",
        "Weight of the desired answers.",
        minimum=0, maximum=1000, lf_argument="kto_chosen_weight", stages=("kto",),
    ),
    Option(
        "kto_rejected_weight", "float", 1.0, "Weight of undesired answers",
        "Weight of the undesired answers.",
        minimum=0, maximum=1000, lf_argument="kto_rejected_weight", stages=("kto",),
    ),
    Option(
        "seed", "int", 42, "Seed",
        "Seed of all random number generators.",
        minimum=0, maximum=4294967295, lf_argument="seed", usual=True,
    ),
    Option(
        "precision", "str", "auto", "Precision",
        "Number format of the computation; auto is bf16 on a GPU that supports it (compute capability 8.0 and later), "
        "fp16 on another GPU and fp32 on a CPU.",
        choices=("auto", "bf16", "fp16", "fp32"),
    ),
    Option(
        "gradient_checkpointing", "bool", True, "Gradient checkpointing",
        "Recompute parts of a step instead of keeping them in memory.",
        changes_result=False,
    ),
    Option(
        "logging_steps", "int", 1, "Steps between log lines",
        "Steps between two lines of the training log.",
        minimum=1, maximum=100000, lf_argument="logging_steps", changes_result=False,
    ),
    Option(
        "save_steps", "int", 50, "Steps between checkpoints",
        "Steps between two checkpoints, from which an interrupted training resumes.",
        minimum=1, maximum=1000000, lf_argument="save_steps", changes_result=False,
        needs=("best_checkpoint", (False,)),
    ),
    Option(
        "extra", "dict", {}, "Arguments of LLaMA-Factory",
        "Additional arguments of LLaMA-Factory, by their LLaMA-Factory names.",
    ),
    Option(
        "keep_merged", "bool", False, "Keep merged weights",
        "Whether merged 16-bit weights in the format of Hugging Face are written and kept, for vLLM or the hub, also "
        "with keep_intermediates: false. Otherwise the adapter is merged on the way to the GGUF file, in half the "
        "memory; merged weights are written only if that is not possible.",
        changes_result=False, step="merge",
    ),
    Option(
        "quantizations", "list", ("q4_K_M",), "Quantizations",
        "Types of the GGUF files; the model's name refers to the first one.",
        aliases=("quantization",), step="gguf", explained=True, usual=True,
    ),
    Option(
        "imatrix", "str", None, "Importance matrix",
        "Text from which llama.cpp learns which weights a quantized file must keep most exact: that of the training "
        "rows (dataset). A file of few bits loses less then, and types that need such a matrix can be declared: "
        "iq3_XXS, q2_K_S, iq2_M, iq2_S, iq2_XS, iq2_XXS, iq1_M and iq1_S. By default no matrix is made.",
        choices=("dataset",), step="gguf",
    ),
)
# fmt: on

#: The options of the training and of its GGUF files, in the order of the table.
OPTIONS: tuple[Option, ...] = tuple(option for option in ALL if option.is_hyperparameter)
#: All other options.
DECLARATION_OPTIONS: tuple[Option, ...] = tuple(option for option in ALL if not option.is_hyperparameter)
BY_NAME: dict[str, Option] = {option.name: option for option in ALL}
#: Defaults of the hyperparameters by name.
DEFAULTS: dict[str, t.Any] = {option.name: option.default for option in OPTIONS}
