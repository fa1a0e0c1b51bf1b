# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``estimates``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "estimates.does_not_fit": Text(
        "{name}: {problem}",
        "{problem.hint} To try it all the same, declare memory_check: warn.",
    ),
    "estimates.gpus_on_cpu": Text(
        "gpus: {gpus} has no effect: this host trains on the CPU.", "Leave gpus out, or train on a host with GPUs."
    ),
    "estimates.too_few_gpus": Text(
        "gpus: {gpus} is declared, and the driver of this host reports {there}.", "Declare gpus: {there}."
    ),
    "estimates.suggestion": "{settings} ({memory:bytes})",
    "estimates.gpu_too_small": Text(
        "This training takes about {needed:bytes} of GPU memory ({parts}); the GPU has {total:bytes}, of which "
        "{reserve:bytes} are kept in reserve.",
        "{suggestions}",
    ),
    "estimates.nothing_smaller": "Nothing smaller in the catalogue would fit either.",
    "estimates.nearest": "The nearest that fits: {suggestions:join|; or }.",
    "estimates.weights": "weights {size:bytes}",
    "estimates.weights_with_experts": (
        "weights {size:bytes}, of which {share:bytes} are {experts} experts in each layer ({active} for a token)"
    ),
    "estimates.trained": "what is trained {size:bytes}",
    "estimates.activations": "values kept for the backward pass {size:bytes}",
    "estimates.logits": "scores of the vocabulary {size:bytes}",
    "estimates.ram_too_small": Text(
        "The step {step} takes about {needed:bytes} of the machine's memory, which has {total:bytes} and {swap}.",
        "Add memory or swap. {suggestions}",
    ),
    "estimates.swap": "{size:bytes} of swap",
    "estimates.no_swap": "no swap",
    "estimates.decided": "{reason} (decided {decided_at})",
    "estimates.trained_so": "it has been trained so already",
    "estimates.fp16_chosen": (
        "precision: auto is fp16 here, because the GPU has no bf16 (it needs compute capability 8.0): very large "
        "values overflow in it, so watch the loss."
    ),
    "estimates.no_bf16": Text(
        "{name}: {option} asks for bf16, which needs compute capability 8.0 and later; the GPU has {capability}.",
        "Declare precision: fp16, without extra.pure_bf16.",
    ),
    "estimates.no_known_gpu": "the driver reports no GPU whose memory is known",
    "estimates.no_gpu": "no GPU: quantized training needs one",
    "estimates.small_gpu": "{total:bytes} of GPU memory, {reserve:bytes} in reserve: less than 12 GB",
    "estimates.large_gpu": "{total:bytes} of GPU memory, {reserve:bytes} in reserve: 12 GB or more",
    "estimates.full_fits": (
        "{total:bytes} of GPU memory, {reserve:bytes} in reserve; {rows} rows, and full takes about {full:bytes}"
    ),
    "estimates.lora_fits": "{total:bytes} of GPU memory, {reserve:bytes} in reserve; lora takes about {lora:bytes}",
    "estimates.lora_or_full_fits": (
        "{total:bytes} of GPU memory, {reserve:bytes} in reserve; lora takes about {lora:bytes} ({rows} rows would "
        "bear full as well, with a learning_rate of at most {learning_rate:g})"
    ),
    "estimates.qlora_fits": (
        "{total:bytes} of GPU memory, {reserve:bytes} in reserve; lora would take about {lora:bytes}, qlora takes "
        "about {qlora:bytes}"
    ),
    "estimates.nothing_fits": (
        "{total:bytes} of GPU memory, {reserve:bytes} in reserve; lora would take about {lora:bytes}, qlora takes "
        "about {qlora:bytes}, and that is too much as well"
    ),
}
