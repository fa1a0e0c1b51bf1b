# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of LLaMA-Factory that a request may give in ``extra``.

Everyone with the scope ``train`` may send requests, and a job has the rights of the job user. Requests may therefore
give arguments that change how a training computes, and none that run code, name files, or send data elsewhere. The list
names what is accepted, so an argument that a later version of LLaMA-Factory adds is refused until it was examined.
Declarations in an inventory may give all arguments: who writes them controls the host.
"""

from __future__ import annotations

import difflib
import typing as t

from ia_homelab_core.messages.message import Message
from ia_homelab_core.messages.suggestions import did_you_mean

from .errors import FieldError

#: Accepted arguments: numbers, switches, and choices or names of modules and tokens, by what they are about.
ACCEPTED: frozenset[str] = frozenset(
    {
        # vocabulary and position encoding
        *("use_fast_tokenizer", "resize_vocab", "split_special_tokens", "add_tokens", "add_special_tokens"),
        *("init_special_tokens", "rope_scaling", "shift_attn", "mixture_of_depths", "moe_aux_loss_coef"),
        # precision, memory and kernels
        *("flash_attn", "enable_liger_kernel", "use_unsloth_gc", "use_reentrant_gc", "upcast_layernorm"),
        *("upcast_lmhead_output", "pure_bf16", "tf32", "fp8", "fp8_backend", "low_cpu_mem_usage"),
        *("gradient_checkpointing_kwargs", "torch_empty_cache_steps", "auto_find_batch_size", "train_from_scratch"),
        *("quantization_method", "quantization_type", "double_quantization", "print_param_status"),
        # images, videos and sound
        *("image_max_pixels", "image_min_pixels", "image_do_pan_and_scan", "crop_to_patches", "video_max_pixels"),
        *("video_min_pixels", "video_fps", "video_maxlen", "use_audio_in_video", "audio_sampling_rate"),
        *("freeze_vision_tower", "freeze_multi_modal_projector", "freeze_language_model"),
        # rows
        *("train_on_prompt", "mask_history", "buffer_size", "streaming", "mix_strategy", "interleave_probs"),
        *("preprocessing_batch_size", "preprocessing_num_workers", "ignore_pad_token_for_loss", "packing"),
        *("neat_packing", "tool_format", "default_system", "enable_thinking", "preserve_thinking"),
        *("disable_shuffling", "dataloader_drop_last", "dataloader_num_workers", "dataloader_pin_memory"),
        *("dataloader_prefetch_factor", "dataloader_persistent_workers", "train_sampling_strategy"),
        # optimizer and schedule
        *(
            "max_steps",
            "lr_scheduler_kwargs",
            "optim",
            "optim_args",
            "optim_target_modules",
            "adam_beta1",
            "adam_beta2",
        ),
        *("adam_epsilon", "max_grad_norm", "label_smoothing_factor", "neftune_noise_alpha", "data_seed"),
        *("average_tokens_across_devices", "full_determinism", "use_adam_mini", "use_muon"),
        *("use_galore", "galore_target", "galore_rank", "galore_update_interval", "galore_scale"),
        *("galore_proj_type", "galore_layerwise", "use_apollo", "apollo_target", "apollo_rank"),
        *("apollo_update_interval", "apollo_scale", "apollo_proj", "apollo_proj_type", "apollo_scale_type"),
        *("apollo_layerwise", "apollo_scale_front", "use_badam", "badam_mode", "badam_start_block"),
        *("badam_switch_mode", "badam_switch_interval", "badam_update_ratio", "badam_mask_mode", "badam_verbose"),
        # what is trained, and the loss
        *("freeze_trainable_modules", "freeze_extra_modules", "additional_target", "module_dropout", "oft_rank"),
        *("oft_block_size", "oft_target", "loraplus_lr_ratio", "loraplus_lr_embedding", "use_rslora", "use_dora"),
        *("pissa_init", "pissa_iter", "pissa_convert", "pref_bco_weight", "dpo_label_smoothing", "ld_alpha"),
        *("use_llama_pro", "use_dft_loss", "use_asft_loss", "asft_alpha", "use_eaft_loss", "eaft_alpha"),
        # validation and reports in the log
        *("per_device_eval_batch_size", "eval_strategy", "eval_steps", "eval_delay", "eval_on_start"),
        *("eval_accumulation_steps", "compute_accuracy", "early_stopping_steps", "load_best_model_at_end"),
        *("metric_for_best_model", "greater_is_better", "prediction_loss_only", "logging_first_step"),
        *("logging_nan_inf_filter", "include_effective_tokens_per_second"),
    }
)

_FILES = "it names a file or a directory of the host"
_SENDS = "it sends data of the training to another server"
_MODELS = "it loads another model, from a path, a hub or a server"
#: Why an argument is not accepted; the others are not on the list.
_REASONS: dict[str, str] = {
    "trust_remote_code": "it runs Python code of the model's repository",
    "torch_compile_backend": "it loads code by its name",
    "model_revision": "the revision of the base is base_revision",
    "use_kt": "it replaces the training by that of another program",
    "use_mca": "it replaces the training by that of another program",
    "use_hyper_parallel": "it replaces the training by that of another program",
    "use_unsloth": "it replaces the training by that of another program",
    "use_v1_kernels": "it loads code by its name",
    "enable_torch_profiler": _FILES,
    "profile_modules": _FILES,
    **dict.fromkeys(("adapter_folder", "offload_folder", "new_special_tokens_config", "hyper_parallel_args"), _FILES),
    **dict.fromkeys(("deepspeed", "fsdp", "accelerator_config", "generation_config", "vllm_config"), _FILES),
    **dict.fromkeys(("sglang_config", "parallelism_config", "export_quantization_dataset"), _FILES),
    **dict.fromkeys(("use_swanlab", "project", "run_name", "trackio_space_id", "export_hub_model_id"), _SENDS),
    **dict.fromkeys(("master_addr", "master_port"), "it connects the training to other hosts"),
}
#: The same by the first letters of the name.
_REASONS_BY_PREFIX: dict[str, str] = {
    "swanlab_": _SENDS,
    "hub_": _SENDS,
    "profiler_": _FILES,
    "fsdp_": _FILES,
    "ray_": "it starts or joins a cluster, which runs code of others",
    "kt_": "it loads files and code of another program",
    "ref_model": _MODELS,
    "reward_model": _MODELS,
}


def refusals(extra: t.Mapping[str, t.Any], field: str) -> list[FieldError]:
    """Return an error for each argument that requests may not give.

    :param extra: arguments of LLaMA-Factory, as checked by the core.
    :param field: the field of the request that has them.
    """
    return [
        FieldError(
            field,
            Message(
                "service.extra_refused", argument=name, reason=_reason(name), suggestion=did_you_mean(_similar(name))
            ),
        )
        for name in extra
        if name not in ACCEPTED
    ]


def _reason(name: str) -> str:
    for prefix, reason in _REASONS_BY_PREFIX.items():
        if name.startswith(prefix):
            return reason
    return _REASONS.get(name, "it is not on the list of arguments that only change how a training computes")


def _similar(name: str) -> list[str]:
    return difflib.get_close_matches(name, ACCEPTED, n=1, cutoff=0.85)
