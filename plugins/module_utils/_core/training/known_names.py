# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that values of options are compared with: GGUF types, refused methods, LLaMA-Factory's arguments."""

from __future__ import annotations

#: Names of prompt tuning that users try; LLaMA-Factory does not support it.
REFUSED_METHODS = frozenset(
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
    )
)

#: GGUF types that llama-quantize creates (source: QUANT_OPTIONS of llama.cpp's ``tools/quantize``), the largest first.
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
    "iq3_XXS",
    "q2_K",
    "q2_K_S",
    "iq2_M",
    "iq2_S",
    "iq2_XS",
    "iq2_XXS",
    "iq1_M",
    "iq1_S",
)
#: Those that llama-quantize refuses to make without an importance matrix (``tensor_requires_imatrix`` in llama.cpp's
#: ``src/llama-quant.cpp``).
NEED_IMATRIX = ("iq3_XXS", "q2_K_S", "iq2_M", "iq2_S", "iq2_XS", "iq2_XXS", "iq1_M", "iq1_S")
#: Those that an importance matrix leaves as they are.
WITHOUT_IMATRIX = ("f32", "f16", "bf16", "q8_0")
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
#: What is declared instead of a switch among them.
DECLARED_INSTEAD: dict[str, str] = {
    "bf16": "precision: bf16",
    "fp16": "precision: fp16",
    "disable_gradient_checkpointing": "gradient_checkpointing: false",
}
