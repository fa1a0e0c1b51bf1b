# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a training. Written by ``tests/option_docs.py`` from the core's table of options."""

from __future__ import annotations


class ModuleDocFragment:
    """Hyperparameters, and options that do not affect the result."""

    DOCUMENTATION = r"""
options:
  stage:
    description:
      - "Kind of training: on answers (sft), on pairs of answers (dpo), on answers rated desired or undesired (kto), on
        text (pt), or of a reward model (rm). A dataset of another kind is refused. ORPO and SimPO are dpo with another
        pref_loss. With rm the run ends at the trained adapter and value head, and nothing is registered."
      - One of V(sft), V(pt), V(rm), V(dpo) and V(kto).
    type: str
    default: sft
  method:
    description:
      - "Weights that are trained: a small adapter (lora), an adapter on a 4-bit base (qlora), some layers (freeze), all
        weights (full), or the method that fits the GPU (auto). Prompt tuning is refused with the reason."
      - One of V(lora), V(qlora), V(full), V(freeze) and V(auto).
    type: str
    aliases: [training_method]
    default: lora
  epochs:
    description:
      - Number of passes over the rows.
      - Greater than V(0), at most V(1000).
    type: float
    aliases: [num_epochs, num_train_epochs, n_epochs]
    default: 3.0
  learning_rate:
    description:
      - Peak learning rate.
      - Greater than V(0), at most V(1).
    type: float
    aliases: [lr]
    default: 0.0002
  batch_size:
    description:
      - Rows on the GPU at the same time.
      - At least V(1), at most V(4096).
    type: int
    aliases: [per_device_train_batch_size]
    default: 1
  gradient_accumulation:
    description:
      - Batches that are accumulated for one optimizer step.
      - At least V(1), at most V(65536).
    type: int
    aliases: [gradient_accumulation_steps]
    default: 8
  gpus:
    description:
      - GPUs of each host that train together, those with the most memory. Each holds a complete copy and takes a share
        of gradient_accumulation, which must be a multiple, so an optimizer step has as many rows as with one.
      - At least V(1), at most V(64).
    type: int
    default: 1
  cutoff_len:
    description:
      - Maximum length of a row in tokens; longer rows are truncated.
      - At least V(16), at most V(1048576).
    type: int
    aliases: [max_length]
    default: 2048
  max_samples:
    description:
      - Maximum number of rows to use.
      - At least V(1).
    type: int
  template:
    description:
      - LLaMA-Factory's chat template; by default that of the base model in the catalogue or in LLaMA-Factory's table.
        Required for other base models, and for directories.
    type: str
    aliases: [chat_template]
  tool_format:
    description:
      - "How tools and calls of tools are written for the model: as the chat template does (template), in the format of
        this collection, which Ollama reads back with every template but gpt_oss (house), or the one of them from which
        Ollama reads back every call (auto). auto is template if no row has tools."
      - Only for the stages V(sft), V(dpo), V(kto) and V(rm).
    type: str
    choices: [auto, template, house]
    default: auto
  thinking:
    description:
      - "Whether the model writes a thought before its answer: thoughts of the rows are trained and served as such, and
        a row without one gets an empty one (keep); thoughts are removed from the rows, and the model is served without
        thinking (off); keep if a row has a thought, else off (from_rows)."
      - Only for the stages V(sft), V(dpo), V(kto) and V(rm).
    type: str
    choices: [from_rows, keep, "off"]
    default: from_rows
  lora_rank:
    description:
      - Rank of the adapter.
      - At least V(1), at most V(4096).
      - Only for the methods V(lora) and V(qlora).
    type: int
    aliases: [rank]
    default: 16
  lora_alpha:
    description:
      - Scale of the adapter; by default twice the rank.
      - At least V(1), at most V(65536).
      - Only for the methods V(lora) and V(qlora).
    type: int
  lora_dropout:
    description:
      - Share of the adapter's inputs that is dropped during training.
      - At least V(0), at most V(0.99).
      - Only for the methods V(lora) and V(qlora).
    type: float
    default: 0.0
  lora_target:
    description:
      - Modules that get an adapter; all for every linear module.
      - Only for the methods V(lora) and V(qlora).
    type: list
    elements: str
    default: [all]
  quantization_bit:
    description:
      - Bits of the base's weights during a qlora training; 4 by default.
      - Only for the method V(qlora).
    type: int
    choices: [4, 8]
  freeze_trainable_layers:
    description:
      - Number of last layers that freeze trains; negative for the first layers.
      - At least V(-1000), at most V(1000).
      - Only for the method V(freeze).
    type: int
    default: 2
  lr_scheduler:
    description:
      - Schedule by which the learning rate decreases.
    type: str
    choices: [cosine, linear, constant, constant_with_warmup, cosine_with_restarts, polynomial, inverse_sqrt]
    aliases: [lr_scheduler_type]
    default: cosine
  warmup_ratio:
    description:
      - Share of the steps in which the learning rate increases.
      - At least V(0), at most V(0.9).
    type: float
    default: 0.1
  weight_decay:
    description:
      - Weight decay towards zero.
      - At least V(0), at most V(1).
    type: float
    default: 0.0
  validation_share:
    description:
      - Share of the rows that is held back from training and evaluated after each epoch (eval_loss). A row is selected
        by its question, so the selection is stable as the dataset grows.
      - At least V(0), at most V(0.5).
    type: float
    default: 0.0
  held_out:
    description:
      - Share of the rows that is neither trained on nor validated on, to measure the model with them. A row is selected
        by its question, so the selection is stable as the dataset grows.
      - At least V(0), at most V(0.5).
      - Only for the stages V(sft), V(dpo) and V(kto).
    type: float
    default: 0.0
  pref_loss:
    description:
      - Loss of dpo; sigmoid is DPO itself. orpo and simpo need no second copy of the base.
      - Only for the stage V(dpo).
    type: str
    choices: [sigmoid, hinge, ipo, kto_pair, orpo, simpo]
    default: sigmoid
  pref_beta:
    description:
      - Strength with which the model is kept close to its base.
      - Greater than V(0), at most V(100).
      - Only for the stages V(dpo) and V(kto).
    type: float
    default: 0.1
  pref_ftx:
    description:
      - Weight of the sft loss on the preferred answer, added to the preference loss.
      - At least V(0), at most V(100).
      - Only for the stages V(dpo) and V(kto).
    type: float
    default: 0.0
  simpo_gamma:
    description:
      - Target margin of simpo between the preferred and the rejected answer.
      - At least V(0), at most V(100).
      - Only for the stage V(dpo).
    type: float
    default: 0.5
  kto_chosen_weight:
    description:
      - Weight of the desired answers.
      - At least V(0), at most V(1000).
      - Only for the stage V(kto).
    type: float
    default: 1.0
  kto_rejected_weight:
    description:
      - Weight of the undesired answers.
      - At least V(0), at most V(1000).
      - Only for the stage V(kto).
    type: float
    default: 1.0
  seed:
    description:
      - Seed of all random number generators.
      - At least V(0), at most V(4294967295).
    type: int
    default: 42
  precision:
    description:
      - Number format of the computation; auto is bf16 on a GPU that supports it (compute capability 8.0 and later),
        fp16 on another GPU and fp32 on a CPU.
    type: str
    choices: [auto, bf16, fp16, fp32]
    default: auto
  gradient_checkpointing:
    description:
      - Recompute parts of a step instead of keeping them in memory.
    type: bool
    default: true
  logging_steps:
    description:
      - Steps between two lines of the training log.
      - At least V(1), at most V(100000).
    type: int
    default: 1
  save_steps:
    description:
      - Steps between two checkpoints, from which an interrupted training resumes.
      - At least V(1), at most V(1000000).
    type: int
    default: 50
  extra:
    description:
      - Additional arguments of LLaMA-Factory, by their LLaMA-Factory names.
    type: dict
    default: {}
"""
