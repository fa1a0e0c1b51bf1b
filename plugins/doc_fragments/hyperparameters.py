# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a training. A test holds them equal to the core's table."""

from __future__ import annotations


class ModuleDocFragment:
    """Hyperparameters, and what only steers the work."""

    DOCUMENTATION = r"""
options:
  stage:
    description:
      - "Kind of training: on answers (sft), on pairs of them (dpo), on answers that were liked or not (kto), on text
        (pt), or of a reward model (rm)."
      - One of V(sft), V(dpo), V(kto), V(pt) and V(rm). A dataset of another kind is refused. ORPO and SimPO are V(dpo)
        with another O(pref_loss).
    type: str
    default: sft
  method:
    description:
      - "What is trained: a small adapter (lora), one over weights in 4 bits (qlora), some layers (freeze),
        everything (full), or what suits the GPU (auto)."
      - One of V(lora), V(qlora), V(full), V(freeze) and V(auto). Prompt tuning is refused with the reason.
    type: str
    aliases: [training_method]
    default: lora
  epochs:
    description:
      - How often each row is seen.
      - It is more than V(0), at most V(1000).
    type: float
    aliases: [num_epochs, num_train_epochs, n_epochs]
    default: 3.0
  learning_rate:
    description:
      - Peak learning rate.
      - It is more than V(0), at most V(1).
    type: float
    aliases: [lr]
    default: 0.0002
  batch_size:
    description:
      - Rows on the GPU at a time.
      - It is at least V(1), at most V(4096).
    type: int
    aliases: [per_device_train_batch_size]
    default: 1
  gradient_accumulation:
    description:
      - Batches that make one step together.
      - It is at least V(1), at most V(65536).
    type: int
    aliases: [gradient_accumulation_steps]
    default: 8
  cutoff_len:
    description:
      - Longest row in tokens; what is longer is cut off.
      - It is at least V(16), at most V(1048576).
    type: int
    aliases: [max_length]
    default: 2048
  max_samples:
    description:
      - Use only so many rows.
      - It is at least V(1).
    type: int
  template:
    description:
      - LLaMA-Factory's chat template; that of the base model when not declared.
    type: str
    aliases: [chat_template]
  lora_rank:
    description:
      - Rank of the adapter.
      - It is at least V(1), at most V(4096).
      - Only for the methods V(lora) and V(qlora).
    type: int
    aliases: [rank]
    default: 16
  lora_alpha:
    description:
      - Scale of the adapter; twice the rank when not declared.
      - It is at least V(1), at most V(65536).
      - Only for the methods V(lora) and V(qlora).
    type: int
  lora_dropout:
    description:
      - Share of the adapter's inputs that is dropped while training.
      - It is at least V(0), at most V(0.99).
      - Only for the methods V(lora) and V(qlora).
    type: float
    default: 0.0
  lora_target:
    description:
      - Modules that get an adapter; all for every linear one.
      - Only for the methods V(lora) and V(qlora).
    type: list
    elements: str
    default: [all]
  quantization_bit:
    description:
      - Bits of the base's weights while qlora trains.
      - Only for the method V(qlora).
    type: int
    choices: [4, 8]
    default: 4
  freeze_trainable_layers:
    description:
      - How many of the last layers freeze trains; negative for the first ones.
      - It is at least V(-1000), at most V(1000).
      - Only for the method V(freeze).
    type: int
    default: 2
  lr_scheduler:
    description:
      - How the learning rate goes down.
    type: str
    choices: [cosine, linear, constant, constant_with_warmup, cosine_with_restarts, polynomial, inverse_sqrt]
    aliases: [lr_scheduler_type]
    default: cosine
  warmup_ratio:
    description:
      - Share of the steps in which the learning rate goes up.
      - It is at least V(0), at most V(0.9).
    type: float
    default: 0.1
  weight_decay:
    description:
      - Pull of the weights to zero.
      - It is at least V(0), at most V(1).
    type: float
    default: 0.0
  validation_share:
    description:
      - Share of the rows that is not trained on but looked at after each epoch (eval_loss). A row is chosen by what
        it asks, so it stays where it is as the dataset grows.
      - It is at least V(0), at most V(0.5).
    type: float
    default: 0.0
  pref_loss:
    description:
      - Loss of dpo; sigmoid is DPO itself. For orpo and simpo no copy of the base is needed beside.
      - Only for the stage V(dpo).
    type: str
    choices: [sigmoid, hinge, ipo, kto_pair, orpo, simpo]
    default: sigmoid
  pref_beta:
    description:
      - How closely the model stays to its base.
      - It is more than V(0), at most V(100).
      - Only for the stages V(dpo) and V(kto).
    type: float
    default: 0.1
  pref_ftx:
    description:
      - Weight of the loss of sft on the better answer, added to that of the preference.
      - It is at least V(0), at most V(100).
      - Only for the stages V(dpo) and V(kto).
    type: float
    default: 0.0
  simpo_gamma:
    description:
      - Margin by which simpo wants the better answer to win.
      - It is at least V(0), at most V(100).
      - Only for the stage V(dpo).
    type: float
    default: 0.5
  kto_chosen_weight:
    description:
      - Weight of the answers that were liked.
      - It is at least V(0), at most V(1000).
      - Only for the stage V(kto).
    type: float
    default: 1.0
  kto_rejected_weight:
    description:
      - Weight of the answers that were not liked.
      - It is at least V(0), at most V(1000).
      - Only for the stage V(kto).
    type: float
    default: 1.0
  seed:
    description:
      - Start of all that is random.
      - It is at least V(0), at most V(4294967295).
    type: int
    default: 42
  precision:
    description:
      - Numbers to compute with; auto is bf16 on a GPU and fp32 on a CPU.
    type: str
    choices: [auto, bf16, fp16, fp32]
    default: auto
  gradient_checkpointing:
    description:
      - Compute parts of a step twice instead of keeping them in memory.
    type: bool
    default: true
  logging_steps:
    description:
      - Steps between two lines of the training log.
      - It is at least V(1), at most V(100000).
    type: int
    default: 1
  save_steps:
    description:
      - Steps between two checkpoints, from which an interrupted training resumes.
      - It is at least V(1), at most V(1000000).
    type: int
    default: 50
  extra:
    description:
      - More arguments of LLaMA-Factory, by its own names.
    type: dict
    default: {}
"""
