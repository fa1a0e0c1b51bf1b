# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small repository of the stand-in of a hub, and a client for it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.hub_client import (
    HubClient,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn

QWEN = "Qwen/Qwen2.5-0.5B-Instruct"
TOKEN = "hf_CanaryThatMustNotBeSeen0123456789"
CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 100,
}
FILES = {
    "config.json": json.dumps(CONFIG).encode(),
    "tokenizer_config.json": json.dumps({"chat_template": "<|im_start|>"}).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": os.urandom(3_000_000),
    "LICENSE": b"free",
    "README.md": b"# read me",
    "original/consolidated.00.pth": b"the same again",
    "model.fp16.safetensors": b"the same again",
    "consolidated.safetensors": b"the same again",
    "params.json": b"{}",
    "tekken.json": b"{}",
    "model-q8_0.gguf": b"GGUF",
}
WANTED = {"config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors", "LICENSE"}


def env(hub: HubStandIn) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url + "/"}


def client(hub: HubStandIn, token: str = "") -> HubClient:
    return HubClient(env(hub), token, timeout=30, sleep=lambda _seconds: None)


def everything(root: str) -> str:
    """All contents and names below a directory."""
    return "\n".join(f"{path} {path.read_bytes()!r}" for path in sorted(Path(root).rglob("*")) if path.is_file())
