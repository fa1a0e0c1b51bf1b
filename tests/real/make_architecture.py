# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a tiny base model of an architecture, with random weights and the tokenizer of another base.

Usage: make_architecture.py BASE ARCHITECTURE TARGET. Run by the Python of LLaMA-Factory's environment.
"""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Vision:
    """An architecture that accepts images: a language model, an image encoder, and what makes pixels for it.

    :param tokens: its tokens, added to the vocabulary of the tiny base: the name of an id in its configuration, or its
        own text where the configuration has none.
    :param text: the language model, beside :data:`COMMON`.
    :param vision: the encoder.
    :param more: the rest of the configuration.
    :param processor: ``preprocessor_config.json``.
    :param processor_class: class of the processor in transformers.
    :param names: starts of the names of its tensors: those that transformers writes, and those in the files of the hub.
    :param eos: text of the token that ends an answer. :param bos: of the first one; empty for none.
    """

    tokens: dict[str, str]
    text: dict[str, t.Any]
    vision: dict[str, t.Any]
    more: dict[str, t.Any]
    processor: dict[str, t.Any]
    processor_class: str
    names: dict[str, str]
    eos: str = "<|im_end|>"
    bos: str = ""


_QWEN_TOKENS = {
    "<|vision_start|>": "vision_start_token_id",
    "<|vision_end|>": "vision_end_token_id",
    "<|image_pad|>": "image_token_id",
    "<|video_pad|>": "video_token_id",
}
#: By ``model_type``. Encoders of two to four layers that write from one to a few tokens for a picture.
VISION: dict[str, Vision] = {
    "qwen2_vl": Vision(
        tokens=_QWEN_TOKENS,
        text={"rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [4, 6, 6]}},
        vision={
            "depth": 4,
            "embed_dim": 64,
            "hidden_size": 128,
            "mlp_ratio": 2,
            "num_heads": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        more={},
        processor={
            "image_processor_type": "Qwen2VLImageProcessor",
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "min_pixels": 3136,
            "max_pixels": 50176,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
        },
        processor_class="Qwen2VLProcessor",
        names={"model.language_model.": "model.", "model.visual.": "visual."},
    ),
    "qwen2_5_vl": Vision(
        tokens=_QWEN_TOKENS,
        text={"rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [4, 6, 6]}},
        vision={
            "depth": 4,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "out_hidden_size": 128,
            "fullatt_block_indexes": [1, 3],
        },
        more={},
        processor={
            "image_processor_type": "Qwen2VLImageProcessor",
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "min_pixels": 3136,
            "max_pixels": 50176,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
        },
        processor_class="Qwen2_5_VLProcessor",
        names={"model.language_model.": "model.", "model.visual.": "visual."},
    ),
    "qwen3_vl": Vision(
        tokens=_QWEN_TOKENS,
        text={
            # the first layers take what the encoder adds to them, the last one may not
            "num_hidden_layers": 4,
            "head_dim": 32,
            "rope_scaling": {"rope_type": "default", "mrope_section": [6, 5, 5], "mrope_interleaved": True},
        },
        vision={
            "depth": 4,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 128,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [1, 2],
        },
        more={},
        processor={
            "image_processor_type": "Qwen2VLImageProcessor",
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "size": {"shortest_edge": 4096, "longest_edge": 65536},
            "patch_size": 16,
            "temporal_patch_size": 2,
            "merge_size": 2,
        },
        processor_class="Qwen3VLProcessor",
        names={},
    ),
    "gemma3": Vision(
        tokens={
            "<bos>": "bos_token_id",
            "<end_of_turn>": "eos_token_id",
            "<start_of_turn>": "",
            "<start_of_image>": "boi_token_index",
            "<end_of_image>": "eoi_token_index",
            "<image_soft_token>": "image_token_index",
        },
        # llama.cpp takes every sixth layer for one of full attention, and old versions need one
        text={
            "num_hidden_layers": 6,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "layer_types": [*["sliding_attention"] * 5, "full_attention"],
        },
        vision={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 14,
            "image_size": 112,
        },
        more={"mm_tokens_per_image": 4},
        processor={
            "image_processor_type": "Gemma3ImageProcessor",
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "image_seq_length": 4,
            "size": {"height": 112, "width": 112},
            "do_pan_and_scan": False,
        },
        processor_class="Gemma3Processor",
        names={
            "model.language_model.": "language_model.model.",
            "model.vision_tower.": "vision_tower.",
            "model.multi_modal_projector.": "multi_modal_projector.",
        },
        eos="<end_of_turn>",
        bos="<bos>",
    ),
}


def read_json(directory: str, name: str) -> t.Any:
    """The content of a JSON file."""
    with open(os.path.join(directory, name), encoding="utf-8") as stream:
        return json.load(stream)


def write_json(directory: str, name: str, value: t.Any) -> None:
    """Write a JSON file."""
    with open(os.path.join(directory, name), "w", encoding="utf-8") as stream:
        json.dump(value, stream, ensure_ascii=False, indent=1)


def add_tokens(target: str, vision: Vision) -> dict[str, int]:
    """Add the tokens of an architecture to a tokenizer; return their ids by text.

    The files are changed as they are: what this version of transformers saves, that of the converter does not load.
    """
    tokenizer, config = read_json(target, "tokenizer.json"), read_json(target, "tokenizer_config.json")
    first = len(tokenizer["model"]["vocab"])
    ids = {text: first + number for number, text in enumerate(vision.tokens)}
    for text, number in ids.items():
        entry = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
        config["added_tokens_decoder"][str(number)] = {"content": text, "special": True, **entry}
        tokenizer["added_tokens"].append({"id": number, "content": text, "special": True, **entry})
    config.update(eos_token=vision.eos, processor_class=vision.processor_class)
    if vision.bos:
        config.update(bos_token=vision.bos, add_bos_token=True)
        template = [{"SpecialToken": {"id": vision.bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
        special = {vision.bos: {"id": vision.bos, "ids": [ids[vision.bos]], "tokens": [vision.bos]}}
        pair = [*template, {"Sequence": {"id": "B", "type_id": 1}}]
        tokenizer["post_processor"] = {
            "type": "TemplateProcessing",
            "single": template,
            "pair": pair,
            "special_tokens": special,
        }
    config["boi_token"], config["eoi_token"], config["image_token"] = (
        ("<start_of_image>", "<end_of_image>", "<image_soft_token>") if "<start_of_image>" in ids else ("", "", "")
    )
    config = {name: value for name, value in config.items() if value != ""}
    write_json(target, "tokenizer.json", tokenizer)
    write_json(target, "tokenizer_config.json", config)
    return ids


def save_as_on_hub(model: t.Any, vision: Vision, target: str) -> None:
    """Write the weights by the names in the files of the hub, which the converter knows."""
    from safetensors.torch import save_file

    tensors = {}
    for name, tensor in model.state_dict().items():
        start = next((start for start in vision.names if name.startswith(start)), "")
        if name != "lm_head.weight":  # it is the embedding
            tensors[vision.names.get(start, "") + name[len(start) :]] = tensor.contiguous()
    save_file(tensors, os.path.join(target, "model.safetensors"), metadata={"format": "pt"})


def make(base: str, architecture: str, target: str) -> None:
    """Write the model."""
    import torch
    import transformers

    shutil.copytree(base, target, ignore=shutil.ignore_patterns("*.safetensors", "config.json", "tiny_base.json"))
    known = read_json(base, "config.json")
    tokens = {name: known[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if name in known}
    values = {**COMMON, **tokens, "vocab_size": known["vocab_size"]}
    torch.manual_seed(0)
    if architecture in VISION:
        vision = VISION[architecture]
        ids = add_tokens(target, vision)
        processor = {**vision.processor, "processor_class": vision.processor_class}
        write_json(target, "preprocessor_config.json", processor)
        if "image_seq_length" in processor:  # the processor has it from here, and the tool that makes pixels from there
            shared = {name: processor[name] for name in ("image_seq_length", "processor_class")}
            write_json(target, "processor_config.json", shared)
        text = {**values, **vision.text, "vocab_size": known["vocab_size"] + len(ids)}
        named = {vision.tokens[token]: number for token, number in ids.items() if vision.tokens[token]}
        text.update({name: number for name, number in named.items() if name in tokens})
        config = transformers.AutoConfig.for_model(
            architecture,
            text_config=text,
            vision_config=vision.vision,
            **vision.more,
            **named,
            tie_word_embeddings=True,
        )
        model = transformers.AutoModelForImageTextToText.from_config(config)
    else:
        config = transformers.AutoConfig.for_model(architecture, **{**values, **ARCHITECTURES[architecture]})
        model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.1)
    model.to(torch.bfloat16).save_pretrained(target)
    if architecture in VISION:
        save_as_on_hub(model, VISION[architecture], target)


if __name__ == "__main__":
    make(*sys.argv[1:])
