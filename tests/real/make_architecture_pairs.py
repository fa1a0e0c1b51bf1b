# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make tiny models of several architectures, each as base, adapter and merged weights, in one process.

Usage: make_architecture_pairs.py PROMPTS TARGET ARCHITECTURE…. Run by the Python of LLaMA-Factory's environment. Writes
``TARGET/ARCHITECTURE/{base,adapter,merged}``, or ``TARGET/ARCHITECTURE/error.txt``. The adapter is random instead of
trained, on every linear layer; it is merged as LLaMA-Factory's export merges it: by PEFT, in 16 bits.
"""

from __future__ import annotations

import json
import sys
import traceback
import typing as t
from pathlib import Path

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "[gMASK]", "<sop>", "<|system|>", "<|user|>",
    "<|assistant|>", "<|observation|>",
)  # fmt: skip
#: Qwen's, which llama.cpp calls ``qwen2``.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

COMMON: dict[str, t.Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
_GLM_EXPERTS = {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 64,
    "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "num_nextn_predict_layers": 1,
    "tie_word_embeddings": False,
}  # fmt: skip
_SLIDING = ["sliding_attention", "full_attention"]
_LINEAR = {
    "num_hidden_layers": 4, "full_attention_interval": 4,
    "layer_types": [*["linear_attention"] * 3, "full_attention"],
    "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 32, "linear_value_head_dim": 32, "mtp_num_hidden_layers": 1,
}  # fmt: skip
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 32, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_expand": 2}
#: What differs from it, by name of an architecture: ``model_type``, with ``-`` and a variant.
ARCHITECTURES: dict[str, dict[str, t.Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {},
    "qwen3_moe": {**_EXPERTS, "decoder_sparse_step": 1},
    "gemma2": {"query_pre_attn_scalar": 32, "layer_types": _SLIDING},
    "gemma3_text": {"query_pre_attn_scalar": 32, "layer_types": _SLIDING},
    "phi3": {},
    "gpt_oss": {
        "num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 128, "layer_types": _SLIDING,
        "tie_word_embeddings": False,
    },
    "granite": {},
    "granitemoehybrid": {
        "num_local_experts": 0, "num_experts_per_tok": 0, "shared_intermediate_size": 256,
        "layer_types": ["attention", "attention"], **_MAMBA,
    },
    "granitemoehybrid-mamba": {
        "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 256,
        "layer_types": ["mamba", "attention"], **_MAMBA,
    },
    "glm4": {"tie_word_embeddings": False},
    "glm4_moe": {**_GLM_EXPERTS, "attention_bias": True},
    "glm4_moe_lite": {
        **_GLM_EXPERTS, "num_key_value_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 32, "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16, "head_dim": 16, "v_head_dim": 32,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3, "block_auto_adjust_ff_dim": False},
    "olmo2": {"tie_word_embeddings": False},
    "smollm3": {},
    "ministral3": {},
    "qwen3_5_text": _LINEAR,
    "qwen3_5_moe_text": {**_LINEAR, **_EXPERTS, "shared_expert_intermediate_size": 64},
}  # fmt: skip


def train_tokenizer(prompts: str, target: Path) -> int:
    """Write a byte-level tokenizer with Qwen's split and learnt merges; return the size of its vocabulary."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rows = json.loads(Path(prompts).read_text(encoding="utf-8"))
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1024, special_tokens=list(SPECIAL), initial_alphabet=alphabet)
    tokenizer.train_from_iterator([json.dumps(row, ensure_ascii=False) for row in rows], trainer)
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[0], eos_token=SPECIAL[2], pad_token=SPECIAL[0]
    )
    whole.save_pretrained(target)
    return len(whole)


def write_tokenizer(source: Path, target: Path, name: str) -> None:
    """Copy a tokenizer, with the class of an architecture: newer versions of transformers split text as it says."""
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    changes: dict[str, dict[str, t.Any]] = {"tokenizer_config.json": {"tokenizer_class": "Qwen2Tokenizer"}}
    if name == "phi3":  # llama.cpp's converter looks for this kind of vocabulary in it only where it has this class
        split = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        changes = {
            "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"},
            "tokenizer.json": {"pre_tokenizer": split},
        }
    for file, values in changes.items():
        content = json.loads((target / file).read_text(encoding="utf-8"))
        (target / file).write_text(json.dumps({**content, **values}, ensure_ascii=False), encoding="utf-8")


def make(name: str, target: Path, tokenizer: Path, vocabulary: int) -> None:
    """Write base, adapter and merged weights of an architecture."""
    import peft
    import torch
    import transformers

    values = {**COMMON, "vocab_size": vocabulary, **ARCHITECTURES[name]}
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(name.partition("-")[0], **values)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.1)
    model = model.to(torch.bfloat16)
    model.save_pretrained(target / "base")
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    with torch.no_grad():
        for key, parameter in adapted.named_parameters():
            if "lora_" in key:
                parameter.normal_(0.0, 0.1)
    adapted.save_pretrained(target / "adapter")
    adapted.merge_and_unload().save_pretrained(target / "merged")
    for weights in ("base", "merged"):
        write_tokenizer(tokenizer, target / weights, name)


def main(prompts: str, root: str, *names: str) -> None:
    """Make each architecture; one that fails does not end the others."""
    tokenizer = Path(root, "tokenizer")
    vocabulary = train_tokenizer(prompts, tokenizer)
    for name in names:
        target = Path(root, name)
        target.mkdir()
        try:
            make(name, target, tokenizer, vocabulary)
        except Exception:  # transformers raises anything; the test reports it
            (target / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
