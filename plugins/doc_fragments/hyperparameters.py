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
      - Kind of training; sft is supervised fine-tuning.
      - Only V(sft) so far.
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
      - Steps between two checkpoints, from which a training that was broken off goes on.
      - It is at least V(1), at most V(1000000).
    type: int
    default: 50
  extra:
    description:
      - More arguments of LLaMA-Factory, by its own names.
    type: dict
    default: {}
"""
