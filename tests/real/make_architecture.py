# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a tiny base model of an architecture, with random weights and the tokenizer of another base.

Usage: make_architecture.py BASE ARCHITECTURE TARGET. Run by the Python of LLaMA-Factory's environment.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import typing as t

#: Dimensions of every architecture.
COMMON: dict[str, t.Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
#: What differs from it, by ``model_type``. Only architectures for which llama.cpp's converter takes the SentencePiece
#: vocabulary of the tiny base as it is; with qwen3 and phi3 the GGUF file has other tokens than the training.
ARCHITECTURES: dict[str, dict[str, t.Any]] = {
    "mistral": {"head_dim": 32, "sliding_window": None},
    "gemma3_text": {
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}


def make(base: str, architecture: str, target: str) -> None:
    """Write the model."""
    import torch
    import transformers

    shutil.copytree(base, target, ignore=shutil.ignore_patterns("*.safetensors", "config.json", "tiny_base.json"))
    with open(os.path.join(base, "config.json"), encoding="utf-8") as stream:
        known = json.load(stream)
    tokens = {name: known[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if name in known}
    values = {**COMMON, **tokens, "vocab_size": known["vocab_size"], **ARCHITECTURES[architecture]}
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(architecture, **values)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.1)
    model.to(torch.bfloat16).save_pretrained(target)


if __name__ == "__main__":
    make(*sys.argv[1:])
