# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversion in one pass: which trainings need no merged weights on disk to become a GGUF file, and how.

The converter reads the base, and ``programs/convert_with_adapter.py`` changes each tensor as it passes by what the
adapter says of it. The adapter's files are PEFT's: ``adapter_config.json``, and ``adapter_model.safetensors`` whose
names are ``base_model.model.`` + module + ``.lora_A.weight`` and so on (``peft.utils.save_and_load``, PEFT 0.18).
Read-only.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
import re
import typing as t

from ..errors import StoreError
from ..formats.safetensors import ADAPTER, Tensor, model_files, read_model, read_tensors
from ..messages.message import Message
from .checkpoints import read_object

#: Training arguments after which the model is more than base and adapter, or is built in another way: tokens were
#: added, the base itself was changed, its positions are scaled, or code of the model's own computes it.
EXPORT_ONLY_ARGUMENTS = (
    "add_tokens",
    "add_special_tokens",
    "new_special_tokens_config",
    "resize_vocab",
    "pissa_init",
    "rope_scaling",
    "trust_remote_code",
)

#: Values in ``adapter_config.json`` that change how the adapter acts, with the only one that is known here.
_PLAIN: dict[str, t.Any] = {
    "peft_type": "LORA",
    "fan_in_fan_out": False,
    "lora_bias": False,
    "bias": "none",
    "alpha_pattern": {},
    "rank_pattern": {},
    "layer_replication": None,
    "use_qalora": False,
    "megatron_config": None,
    "trainable_token_indices": None,
    "alora_invocation_tokens": None,
    "arrow_config": None,
    "target_parameters": None,
}

_PREFIX = "base_model.model."
_PART = re.compile(r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector)(?:\.weight)?\Z")
#: Containers around a language model: transformers names them in another order than the files of the hub (gemma3), or
#: has one where these have none (qwen2_5_vl). What is not of the language model has another name (``visual``).
_CONTAINERS = frozenset({"model", "language_model"})

_EMBEDDINGS = re.compile(r"(?:\A|\.)(?:embed_tokens|wte|word_embeddings|lm_head|embed_out)\.weight\Z")


class NotInOnePassError(Exception):
    """Base and adapter have to go through merged weights."""

    def __init__(self, reason: Message) -> None:
        """Make the error.

        :param reason: a phrase.
        """
        super().__init__(str(reason))
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Change:
    """What an adapter does to one tensor of its base.

    :param a: name of the adapter's tensor A, r × columns; empty when the tensor is replaced.
    :param b: name of its tensor B, rows × r.
    :param scale: factor of the product B·A.
    :param magnitude: name of DoRA's vector of lengths, one for each row; empty without DoRA.
    :param replacement: name of the adapter's tensor that takes its place; empty for LoRA.
    """

    a: str = ""
    b: str = ""
    scale: float = 1.0
    magnitude: str = ""
    replacement: str = ""


def declared_obstacle(resolved: t.Mapping[str, t.Any]) -> Message | None:
    """Why a training needs merged weights, as far as its declaration shows; None if it does not.

    :param resolved: hyperparameters, defaults filled in.
    :returns: a phrase.
    """
    if resolved.get("method") not in ("lora", "qlora"):
        return Message("training.one_pass_method", method=str(resolved.get("method")))
    extra = resolved.get("extra") or {}
    argument = next((name for name in EXPORT_ONLY_ARGUMENTS if extra.get(name)), None)
    return Message("training.one_pass_argument", argument=argument) if argument else None


def read_changes(base: str, trained: str) -> dict[str, Change]:
    """Return what the adapter of a training does to its base: names of the base's tensors, each with the change.

    Reads headers only.

    :param base: directory of the base model.
    :param trained: directory of the training's result.
    :raises NotInOnePassError: when the adapter does more than this can express, or does not match the base's names.
    :raises StoreError: when a file is damaged.
    """
    if not model_files(base):
        raise NotInOnePassError(Message("training.one_pass_weights"))
    config = read_object(os.path.join(trained, "adapter_config.json"))
    _check_config(config)
    tensors = read_tensors(os.path.join(trained, ADAPTER))
    base_tensors = read_model(base)
    modules, replacements = _sort_parts(tensors)
    names = _NamesOfBase(base_tensors)
    changes: dict[str, Change] = {}
    for module, parts in modules.items():
        name = names.find(f"{module}.weight")
        changes[name] = _lora(name, base_tensors[name], parts, tensors, config)
    for key in replacements:
        name = names.find(key[len(_PREFIX) :])
        if base_tensors[name].shape != tensors[key].shape:
            raise NotInOnePassError(Message("training.one_pass_shape", tensor=name))
        changes[name] = Change(replacement=key)
    if not changes:
        raise NotInOnePassError(Message("training.one_pass_empty"))
    if _is_tied(base) and any(_EMBEDDINGS.search(name) for name in changes):
        # which of two tied tensors counts is for transformers to say
        raise NotInOnePassError(Message("training.one_pass_tied"))
    return changes


def _check_config(config: t.Mapping[str, t.Any]) -> None:
    for key, plain in _PLAIN.items():
        if (config.get(key) or plain) != plain:
            raise NotInOnePassError(Message("training.one_pass_setting", setting=key))
    if str(config.get("init_lora_weights", True)) not in ("True", "False", "gaussian"):
        # these change the base's own weights
        raise NotInOnePassError(Message("training.one_pass_setting", setting="init_lora_weights"))


def _sort_parts(tensors: t.Mapping[str, Tensor]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The tensors of an adapter: the parts of LoRA by module, and those that replace a tensor."""
    modules: dict[str, dict[str, str]] = collections.defaultdict(dict)
    replacements = []
    for key in tensors:
        if not key.startswith(_PREFIX):
            raise NotInOnePassError(Message("training.one_pass_tensor", tensor=key))
        match = _PART.match(key[len(_PREFIX) :])
        if match:
            modules[match["module"]][match["part"]] = key
        elif "lora_" in key:
            raise NotInOnePassError(Message("training.one_pass_tensor", tensor=key))
        else:
            replacements.append(key)
    return modules, replacements


def _lora(
    name: str,
    weight: Tensor,
    parts: t.Mapping[str, str],
    tensors: t.Mapping[str, Tensor],
    config: t.Mapping[str, t.Any],
) -> Change:
    """The change of one tensor by LoRA, rank-stabilized LoRA or DoRA.

    W' = W + s·B·A with s = α/r (Hu and others 2021) or α/√r (Kalajdzievski 2023). DoRA gives each row of that sum the
    length that was learnt (Liu and others 2024).
    """
    a, b, magnitude = (parts.get(part, "") for part in ("lora_A", "lora_B", "lora_magnitude_vector"))
    if not a or not b or bool(config.get("use_dora")) != bool(magnitude):
        raise NotInOnePassError(Message("training.one_pass_tensor", tensor=a or b or magnitude))
    rank = int(config["r"])
    expected = [((rank, *weight.shape[1:]), a), ((*weight.shape[:1], rank), b)]
    if magnitude:
        expected.append((weight.shape[:1], magnitude))
    if len(weight.shape) != 2 or any(tensors[key].shape != shape for shape, key in expected):
        raise NotInOnePassError(Message("training.one_pass_shape", tensor=name))
    divisor = rank**0.5 if config.get("use_rslora") else float(rank)
    return Change(a, b, float(config["lora_alpha"]) / divisor, magnitude)


class _NamesOfBase:
    """Finds the tensor of a base that an adapter means."""

    def __init__(self, tensors: t.Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._by_key: dict[tuple[t.Any, ...], list[str]] = collections.defaultdict(list)
        self._by_module: dict[str, list[str]] = collections.defaultdict(list)
        for name in tensors:
            self._by_key[self._key(name)].append(name)
            self._by_module[self._module(name)].append(name)

    @staticmethod
    def _key(name: str) -> tuple[t.Any, ...]:
        """A name without the containers before it."""
        parts = name.split(".")
        count = next((index for index, part in enumerate(parts) if part not in _CONTAINERS), len(parts))
        return tuple(parts[count:])

    @staticmethod
    def _module(name: str) -> str:
        """A name without the containers before it."""
        return ".".join(itertools.dropwhile(_CONTAINERS.__contains__, name.split(".")))

    def find(self, wanted: str) -> str:
        """Return the base's own name of a tensor.

        :raises NotInOnePassError: when there is none, or more than one.
        """
        if wanted in self._tensors:
            return wanted
        # a language model loaded without the encoders around it has fewer containers than its checkpoint (qwen3_5_text)
        found = self._by_key.get(self._key(wanted)) or self._by_module.get(self._module(wanted), [])
        if len(found) != 1:
            raise NotInOnePassError(Message("training.one_pass_tensor", tensor=wanted))
        return found[0]


def _is_tied(base: str) -> bool:
    """Whether input and output embeddings of a base are the same tensor.

    :raises NotInOnePassError: when its configuration cannot be read.
    """
    try:
        config = read_object(os.path.join(base, "config.json"))
    except (OSError, ValueError, StoreError) as error:
        raise NotInOnePassError(Message("training.one_pass_weights")) from error
    text = config.get("text_config")
    declared = config.get("tie_word_embeddings")
    if declared is None and isinstance(text, dict):
        declared = text.get("tie_word_embeddings")
    # many classes of transformers tie them when the configuration says nothing
    return declared is not False
