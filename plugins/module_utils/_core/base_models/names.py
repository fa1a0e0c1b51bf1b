# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of base models: an Ollama-style name, a Hugging Face id, or a directory on the host.

Ollama's own files are quantized and cannot be trained: its names refer to the corresponding Hugging Face weights.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re

from ..chat_formats.exactness import servable
from ..errors import InputError
from ..messages.message import Message
from ..messages.suggestions import did_you_mean
from .catalogue import CATALOGUE, DEFAULT_TAGS
from .entry import Entry, Shape
from .model_files import inspect_directory

__all__ = ["BaseModel", "Shape", "catalogue_names", "count_parameters", "nearest", "resolve"]

_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}\Z")
_PREFIXES = ("https://huggingface.co/", "http://huggingface.co/", "huggingface.co/", "hf.co/", "library/")
#: Suffixes of Ollama's tags that select a quantization of the same weights.
_QUANTIZATION_TAG = re.compile(r"-(?:it-qat|qat|fp16|f16|bf16|fp32|q\d+_[0-9a-z_]+)\Z")
_CHAT_TAG = re.compile(r"-(?:instruct|chat|it)\Z")
#: Ids of quantized weights on the hub: an adapter cannot be merged into them without loss.
_QUANTIZED_ID = re.compile(r"[-_.](?:gguf|gptq|awq|exl2|mlx|bnb-4bit|int4|int8|fp8)(?:[-_.]|\Z)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class BaseModel:
    """A base model as declared, before any request to a hub.

    :param kind: ``hub`` or ``dir``.
    :param declared: the declared name.
    :param hub_id: organisation and name on the hub; empty for a directory.
    :param path: absolute directory; empty for a hub model.
    :param template: LLaMA-Factory's chat template; empty if neither the catalogue nor LLaMA-Factory has one for it.
    :param template_source: where the template comes from: ``catalogue`` or ``llamafactory``; empty without one.
    :param shape: dimensions of the model; None if only the model's files contain them.
    :param gated: whether the licence must be accepted first, according to the catalogue (the hub is authoritative).
    :param ollama_name: name in Ollama's library; empty if the model is not in the catalogue.
    :param chat: whether it has a chat template of its own; None if its files have not been read.
    """

    kind: str
    declared: str
    hub_id: str = ""
    path: str = ""
    template: str = ""
    template_source: str = ""
    shape: Shape | None = None
    gated: bool = False
    ollama_name: str = ""
    chat: bool | None = None

    @property
    def model_type(self) -> str:
        """``model_type`` of its configuration; empty if not known yet."""
        return self.shape.model_type if self.shape else ""


def catalogue_names() -> list[str]:
    """Return the names of the models that can be served as they were trained, in catalogue order."""
    exact = set(servable())
    return [entry.name for entry in CATALOGUE if entry.template in exact]


def families() -> list[str]:
    """Return the families of the catalogue in Ollama's library, in catalogue order."""
    return list(dict.fromkeys(entry.family for entry in CATALOGUE if entry.family))


def nearest(name: str, count: int = 3) -> list[str]:
    """Return catalogue names that are similar to a name, the most similar first."""
    lower_name = name.lower()
    family = lower_name.partition(":")[0]
    if family in families():
        return [entry.name for entry in CATALOGUE if entry.family == family]
    names = {}
    for entry in CATALOGUE:
        names[entry.hub_id.lower()] = entry.hub_id
        names[entry.name] = entry.name
        if entry.family:
            tag = DEFAULT_TAGS.get(entry.family)
            names.setdefault(entry.family, f"{entry.family}:{tag}" if tag else entry.name)
    matches = [names[each] for each in difflib.get_close_matches(lower_name, names, n=2 * count, cutoff=0.6)]
    return list(dict.fromkeys(matches))[:count]


def feed_forward_parameters(shape: Shape) -> int:
    """Return the weights of the feed-forward part of a layer, without biases: dense, or all experts and a router."""
    if not shape.experts:
        return 3 * shape.hidden * shape.intermediate
    widths = shape.experts * shape.expert_intermediate + shape.shared_intermediate
    return 3 * shape.hidden * widths + shape.experts * shape.hidden


def count_parameters(shape: Shape) -> int:
    """Return the parameter count of a decoder of a shape, tied embeddings counted once.

    Per layer: attention ``H·d·(2·A + 2·K)``, feed-forward ``3·H·I``, two norms of width ``H`` (Gemma 2 and 3: four);
    Qwen 2 has biases on queries, keys and values, Qwen 3 and Gemma 3 a norm of width ``d`` on queries and on keys.
    A mixture of experts has ``E`` of them in place of the feed-forward part, and a router of ``E·H``; gpt-oss has
    biases everywhere, and a sink for each head. A vision encoder is not counted.
    """
    attention = shape.hidden * shape.head_dim * 2 * (shape.heads + shape.kv_heads)
    norms = shape.hidden * (4 if shape.model_type.startswith(("gemma2", "gemma3")) else 2)
    extra = 0
    if shape.model_type == "qwen2":
        extra = shape.head_dim * (shape.heads + 2 * shape.kv_heads)
    elif shape.model_type in ("qwen3", "qwen3_moe") or shape.model_type.startswith("gemma3"):
        extra = 2 * shape.head_dim
    elif shape.model_type == "gpt_oss":
        biases = shape.head_dim * (shape.heads + 2 * shape.kv_heads) + shape.hidden
        extra = biases + shape.heads + shape.experts * (1 + 2 * shape.expert_intermediate + shape.hidden)
    layer = attention + feed_forward_parameters(shape) + norms + extra
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
    return shape.layers * layer + embeddings + shape.hidden


def _by_ollama_name(name: str) -> Entry | None:
    family, _colon, tag = name.partition(":")
    if tag in ("", "latest"):
        tag = DEFAULT_TAGS.get(family, "")
    plain = _QUANTIZATION_TAG.sub("", tag)
    for candidate in (tag, plain, _CHAT_TAG.sub("", plain)):
        for entry in CATALOGUE:
            if entry.family == family and candidate in entry.tags:
                return entry
    return None


def _by_hub_id(hub_id: str) -> Entry | None:
    return next((entry for entry in CATALOGUE if entry.hub_id.lower() == hub_id.lower()), None)


def _template_of_llamafactory(hub_id: str) -> str:
    """Return the chat template that LLaMA-Factory has for a model; empty if it does not name it, or without one."""
    # imported when it is needed: 34 KB that most programs of the core never read
    from .llamafactory_models import MODELS

    wanted = hub_id.lower()
    return next((template for name, (template, _seen) in MODELS.items() if name.lower() == wanted), "")


def _suggestion(name: str) -> Message:
    return did_you_mean(nearest(name)) or Message("base_models.forms_of_names")


def resolve(name: str) -> BaseModel:
    """Resolve the name of a base model without network access; the configuration of a directory is read.

    :param name: ``qwen2.5:7b`` (a bare ``qwen2.5`` means the default tag of Ollama's library), ``Qwen/Qwen2.5-7B``,
        or an absolute directory with weights in safetensors.
    :raises InputError: for an unknown name (with the nearest matches), or a directory without a complete model.
    """
    declared = name.strip()
    if not declared:
        raise InputError("base_models.not_named", suggestion=_suggestion(""))
    if declared.startswith("/"):
        return _resolve_directory(declared)
    if declared.startswith((".", "~")):
        raise InputError("base_models.relative_path", declared=declared)
    plain = declared
    for prefix in _PREFIXES:
        if plain.lower().startswith(prefix):
            plain = plain[len(prefix) :].rstrip("/")
    entry = _by_hub_id(plain) if "/" in plain else _by_ollama_name(plain.lower())
    if entry is not None:
        return BaseModel(
            kind="hub",
            declared=declared,
            hub_id=entry.hub_id,
            template=entry.template,
            template_source="catalogue",
            shape=entry.shape,
            gated=entry.gated,
            ollama_name=entry.name if entry.family else "",
        )
    if "/" not in plain:
        raise InputError("base_models.not_in_catalogue", declared=declared, suggestion=_suggestion(plain))
    if not _HUB_ID.match(plain):
        raise InputError("base_models.no_hub_id", declared=declared, suggestion=_suggestion(plain))
    if _QUANTIZED_ID.search(plain):
        raise InputError("base_models.quantized_weights", declared=declared)
    template = _template_of_llamafactory(plain)
    return BaseModel(
        kind="hub",
        declared=declared,
        hub_id=plain,
        template=template,
        template_source="llamafactory" if template else "",
    )


def _resolve_directory(path: str) -> BaseModel:
    root = os.path.normpath(path)
    if re.search(r"\s", root):
        raise InputError("base_models.directory_with_blank", root=root)
    inspection = inspect_directory(root)
    return BaseModel(kind="dir", declared=path, path=root, shape=inspection.shape, chat=bool(inspection.chat_template))
