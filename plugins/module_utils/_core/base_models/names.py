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

from ..errors import InputError
from ..messages.message import Message
from ..messages.suggestions import did_you_mean
from .catalogue import CATALOGUE, DEFAULT_TAGS, Entry, Shape
from .model_files import Inspection, inspect_directory

__all__ = ["BaseModel", "Shape", "catalogue_names", "count_parameters", "family_template", "nearest", "resolve"]

_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}\Z")
_PREFIXES = ("https://huggingface.co/", "http://huggingface.co/", "huggingface.co/", "hf.co/", "library/")
#: Suffixes of Ollama's tags that select a quantization of the same weights.
_QUANTIZATION_TAG = re.compile(r"-(?:it-qat|qat|fp16|f16|bf16|fp32|q\d+_[0-9a-z_]+)\Z")
_CHAT_TAG = re.compile(r"-(?:instruct|chat|it)\Z")
#: Ids of quantized weights on the hub: an adapter cannot be merged into them without loss.
_QUANTIZED_ID = re.compile(r"[-_.](?:gguf|gptq|awq|exl2|mlx|bnb-4bit|int4|int8|fp8)(?:[-_.]|\Z)", re.IGNORECASE)

#: Chat template of each family by a pattern in the model's name; the first match applies.
_FAMILIES: tuple[tuple[str, str], ...] = (
    (r"r1-(distill|0528)|deepseek-r1", "deepseekr1"),
    (r"qwen-?3-.*(instruct-2507|nothink)", "qwen3_nothink"),
    (r"qwen-?3(?![.\d])(?!.*(vl|omni|next|coder))", "qwen3"),
    (r"qwen-?(2\.5|2|1\.5)(?![.\d])(?!.*(vl|omni|audio))", "qwen"),
    (r"llama-?3(\.[0-3])?(?![.\d])(?!.*vision)", "llama3"),
    (r"mistral-small-(24b-(instruct|base)-2501|3)", "mistral_small"),
    (r"mistral-nemo|ministral-8b", "ministral"),
    (r"mistral-7b|mixtral", "mistral"),
    (r"gemma-?3-(270m|1b)", "gemma2"),
    (r"gemma-?3-(4|12|27)b", "gemma3"),
    (r"gemma-?2(?!b)", "gemma2"),
    (r"phi-?4-mini(?!-flash)", "phi4_mini"),
    (r"phi-?4(?!-(multi|mini))", "phi4"),
    (r"phi-?3(?!.*(small|vision|moe))", "phi"),
    (r"smollm2", "smollm2"),
    (r"tinyllama|zephyr", "zephyr"),
)


@dataclasses.dataclass(frozen=True)
class BaseModel:
    """A base model as declared, before any request to a hub.

    :param kind: ``hub`` or ``dir``.
    :param declared: the declared name.
    :param hub_id: organisation and name on the hub; empty for a directory.
    :param path: absolute directory; empty for a hub model.
    :param template: LLaMA-Factory's chat template; empty if only the model's files contain it.
    :param template_source: where the template comes from: ``catalogue``, ``name`` or ``files``.
    :param shape: dimensions of the model; None if only the model's files contain them.
    :param gated: whether the licence must be accepted first, according to the catalogue (the hub is authoritative).
    :param ollama_name: name in Ollama's library; empty if the model is not in the catalogue.
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

    @property
    def model_type(self) -> str:
        """``model_type`` of its configuration; empty if not known yet."""
        return self.shape.model_type if self.shape else ""


def catalogue_names() -> list[str]:
    """Return every Ollama-style name of the catalogue, in catalogue order."""
    return [f"{entry.family}:{entry.tags[0]}" for entry in CATALOGUE]


def nearest(name: str, count: int = 3) -> list[str]:
    """Return catalogue names that are similar to a name, the most similar first."""
    lower_name = name.lower()
    family = lower_name.partition(":")[0]
    if family in DEFAULT_TAGS:
        return [each for each in catalogue_names() if each.partition(":")[0] == family]
    names = {}
    for entry in CATALOGUE:
        names[entry.hub_id.lower()] = entry.hub_id
        names[f"{entry.family}:{entry.tags[0]}"] = f"{entry.family}:{entry.tags[0]}"
        names.setdefault(entry.family, f"{entry.family}:{DEFAULT_TAGS[entry.family]}")
    matches = [names[each] for each in difflib.get_close_matches(lower_name, names, n=2 * count, cutoff=0.6)]
    return list(dict.fromkeys(matches))[:count]


def family_template(name: str) -> str:
    """Return the chat template of the family in a model's name; empty if the name matches no family.

    >>> family_template("unsloth/Meta-Llama-3.1-8B-Instruct")
    'llama3'
    """
    text = name.lower()
    return next((template for pattern, template in _FAMILIES if re.search(pattern, text)), "")


def count_parameters(shape: Shape) -> int:
    """Return the parameter count of a dense decoder of a shape, tied embeddings counted once.

    Per layer: attention ``H·d·(2·A + 2·K)``, feed-forward ``3·H·I``, two norms of width ``H`` (Gemma 2 and 3: four);
    Qwen 2 has biases on queries, keys and values, Qwen 3 and Gemma 3 a norm of width ``d`` on queries and on keys.
    A vision encoder is not counted.
    """
    attention = shape.hidden * shape.head_dim * 2 * (shape.heads + shape.kv_heads)
    norms = shape.hidden * (4 if shape.model_type.startswith(("gemma2", "gemma3")) else 2)
    extra = 0
    if shape.model_type == "qwen2":
        extra = shape.head_dim * (shape.heads + 2 * shape.kv_heads)
    elif shape.model_type == "qwen3" or shape.model_type.startswith("gemma3"):
        extra = 2 * shape.head_dim
    layer = attention + 3 * shape.hidden * shape.intermediate + norms + extra
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
            ollama_name=f"{entry.family}:{entry.tags[0]}",
        )
    if "/" not in plain:
        raise InputError("base_models.not_in_catalogue", declared=declared, suggestion=_suggestion(plain))
    if not _HUB_ID.match(plain):
        raise InputError("base_models.no_hub_id", declared=declared, suggestion=_suggestion(plain))
    if _QUANTIZED_ID.search(plain):
        raise InputError("base_models.quantized_weights", declared=declared)
    derived = family_template(plain)
    return BaseModel(
        kind="hub",
        declared=declared,
        hub_id=plain,
        template=derived,
        template_source="name" if derived else "",
    )


def _resolve_directory(path: str) -> BaseModel:
    root = os.path.normpath(path)
    if re.search(r"\s", root):
        raise InputError("base_models.directory_with_blank", root=root)
    inspection: Inspection = inspect_directory(root)
    derived = inspection.template or family_template(os.path.basename(root))
    return BaseModel(
        kind="dir",
        declared=path,
        path=root,
        template=derived,
        template_source="files" if inspection.template else "name" if derived else "",
        shape=inspection.shape,
    )
