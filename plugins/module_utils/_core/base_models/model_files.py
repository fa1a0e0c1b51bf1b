# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspection of a model's files: shape, chat template, completeness and digest."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import typing as t

from ..artifacts.layout import RECEIPT, TRAINER_LOG_FILE, Layout
from ..errors import CoreError, InputError, NotReadyError, StoreError
from ..fingerprint import digest
from ..formats.safetensors import INDEX, SINGLE, read_model
from ..json_text import parse_json
from ..system.files import make_dirs, read_json, sha256_file, write_json
from ..system.locks import FileLock
from .entry import Shape

#: Suffixes of the files that define a model; loaders read only those at the top level.
_PARTS = (".safetensors", ".bin", ".json", ".model", ".txt", ".jinja", ".tiktoken", ".py")
#: Files with such a suffix that a training or this program writes and that no loader reads.
_NOT_PARTS = (
    RECEIPT,
    "training_args.bin",
    "trainer_state.json",
    TRAINER_LOG_FILE,
    "all_results.json",
    "train_results.json",
    "eval_results.json",
)
_MAX_CONFIG = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Result of the inspection of a model's configuration.

    :param shape: dimensions of the model; None if its configuration lacks the usual keys.
    :param model_type: ``model_type`` of ``config.json``.
    :param chat_template: the model's own chat template, in Jinja; empty for a base without chat.
    """

    shape: Shape | None
    model_type: str
    chat_template: str


def shape_from_config(config: t.Mapping[str, t.Any], parameters: int = 0) -> Shape | None:
    """Return the shape in a ``config.json`` (that of the language model if multimodal); None if keys are missing.

    :param parameters: parameter count of the weights; 0 if unknown.
    """
    outer = str(config.get("model_type", ""))
    text = config.get("text_config")
    inner: t.Mapping[str, t.Any] = text if isinstance(text, dict) else config
    try:
        hidden, heads = int(inner["hidden_size"]), int(inner["num_attention_heads"])
        kv_heads = int(inner.get("num_key_value_heads") or heads)
        # Gemma ties by default and omits the key; the other families write it
        tied = bool(config.get("tie_word_embeddings", inner.get("tie_word_embeddings", outer.startswith("gemma"))))
        experts = _first(inner, "num_experts", "num_local_experts", "n_routed_experts")
        width = _first(inner, "moe_intermediate_size", "intermediate_size") if experts else 0
        shared = _first(inner, "shared_expert_intermediate_size", "shared_intermediate_size") if experts else 0
        return Shape(
            model_type=outer,
            layers=int(inner["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(inner["intermediate_size"]) if inner.get("intermediate_size") or not experts else width,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=int(inner.get("head_dim") or hidden // heads),
            vocabulary=int(inner["vocab_size"]),
            parameters=parameters,
            tied=tied,
            experts=experts,
            active_experts=_first(inner, "num_experts_per_tok", "experts_per_token", "top_k_experts") if experts else 0,
            expert_intermediate=width,
            shared_intermediate=shared or width * _first(inner, "n_shared_experts") if experts else 0,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _first(config: t.Mapping[str, t.Any], *names: str) -> int:
    """Return the first of some numbers that a configuration has; 0 if it has none."""
    return next((int(config[name]) for name in names if config.get(name)), 0)


def chat_template_of(tokenizer_config: t.Mapping[str, t.Any]) -> str:
    """Return the chat template in a ``tokenizer_config.json`` (or ``chat_template.json``); empty if there is none."""
    template = tokenizer_config.get("chat_template")
    if isinstance(template, list):  # several named templates: use the one for ordinary chats
        templates = {str(each.get("name")): each.get("template") for each in template if isinstance(each, dict)}
        template = templates.get("default") or next(iter(templates.values()), "")
    return template if isinstance(template, str) else ""


def special_tokens(root: str) -> tuple[str, str]:
    """Return the texts of the EOS and the BOS token of a model's tokenizer; empty for one that it does not name.

    Read from ``tokenizer_config.json``, then ``special_tokens_map.json``, where a token is a text or an object with
    ``content``.

    :param root: directory of the model.
    """
    found = {"eos_token": "", "bos_token": ""}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        try:
            with open(os.path.join(root, name), "rb") as stream:
                values = _as_object(name, stream.read(_MAX_CONFIG)) or {}
        except OSError:
            continue
        for token, text in found.items():
            value = values.get(token)
            value = value.get("content") if isinstance(value, dict) else value
            found[token] = text or (value if isinstance(value, str) else "")
    return found["eos_token"], found["bos_token"]


def inspect_files(read: t.Callable[[str], bytes | None], parameters: int = 0) -> Inspection:
    """Inspect the configuration files of a model, local or remote.

    :param read: function that returns the content of a file by name; None if there is no such file.
    :param parameters: parameter count of the weights; 0 if unknown.
    :raises InputError: if there is no ``config.json``, or it is not valid JSON.
    """
    config = _as_object("config.json", read("config.json"))
    if config is None:
        raise InputError("base_models.no_config")
    model_type = str(config.get("model_type", ""))
    jinja = read("chat_template.jinja")
    text = jinja.decode("utf-8", "replace") if jinja else ""
    for name in ("tokenizer_config.json", "chat_template.json"):
        text = text or chat_template_of(_as_object(name, read(name)) or {})
    return Inspection(shape_from_config(config, parameters), model_type, text)


def _as_object(name: str, raw: bytes | None) -> dict[str, t.Any] | None:
    if raw is None:
        return None
    try:
        value = parse_json(raw.decode("utf-8"))
    except ValueError as error:
        raise InputError("errors.invalid_json_named", name=name, reason=error) from error
    if not isinstance(value, dict):
        raise InputError("errors.no_json_object_named", name=name)
    return value


def inspect_directory(root: str) -> Inspection:
    """Inspect the directory of a model. Reads the configuration and the headers of the weights, not the weights.

    :raises InputError: if it is not a directory, or the model in it is incomplete.
    """
    if not os.path.isdir(root):
        raise InputError("base_models.no_directory", root=root)

    def read(name: str) -> bytes | None:
        try:
            with open(os.path.join(root, name), "rb") as stream:
                return stream.read(_MAX_CONFIG)
        except FileNotFoundError:
            return None

    try:
        inspection = inspect_files(read)
        parameters = count_parameters_in(root, inspection.shape.tied if inspection.shape else False)
        if inspection.shape is not None:
            shape = dataclasses.replace(inspection.shape, parameters=parameters)
            inspection = dataclasses.replace(inspection, shape=shape)
        return inspection
    except InputError as error:
        raise InputError("base_models.directory_incomplete", root=root, problem=error.content) from error
    except PermissionError as error:
        raise InputError("errors.unreadable", path=error.filename, reason=error.strerror) from error


def count_parameters_in(root: str, tied: bool) -> int:
    """Count the parameters of the weights in a directory; 0 if they are not in safetensors.

    Reads only the headers and checks that every file is complete. Adapters and GGUF files are refused.

    :param tied: whether the output layer is the embedding matrix: some weights contain a second copy nevertheless.
    :raises InputError: if weights are missing or truncated.
    """
    try:
        tensors = read_model(root)
    except StoreError as error:
        raise InputError("base_models.weights_corrupt", problem=error.content) from error
    names = os.listdir(root)
    weights = weight_files(names)
    if not tensors and any(name.endswith(".safetensors") for name in weights):
        raise InputError("base_models.no_index", file=weights[0], index=INDEX)
    if not weights:
        if "adapter_config.json" in names:
            raise InputError("base_models.is_adapter")
        if any(name.endswith(".gguf") for name in names):
            raise InputError("base_models.is_gguf")
        raise InputError("base_models.no_weights")
    return sum(tensor.elements for name, tensor in tensors.items() if not (tied and name == "lm_head.weight"))


def weight_files(names: t.Iterable[str]) -> list[str]:
    """Return the files from which a loader reads the weights: safetensors, or else PyTorch's ``.bin``."""
    available = set(names)
    for single in (SINGLE, "pytorch_model.bin"):
        stem, _dot, ending = single.rpartition(".")
        shards = sorted(name for name in available if re.fullmatch(rf"{stem}-\d+-of-\d+\.{ending}", name))
        if single in available or shards:
            return [single] if single in available else shards
    return []


def part_names(root: str) -> list[str]:
    """Return the sorted names of the files in a directory that define the model."""
    return sorted(
        entry.name
        for entry in os.scandir(root)
        if entry.name.endswith(_PARTS) and entry.name not in _NOT_PARTS and entry.name[0] != "." and entry.is_file()
    )


class HashCache:
    """Cache of the digests of large files, so that an unchanged file is not read again.

    Stored in ``cache/hashes.json`` of the data directory, by path. An entry is valid as long as size, modification
    time and inode are unchanged. Reading does not modify the cache file; callers that may write call :meth:`save`.
    """

    #: Digests computed by this process, by cache file and path: check mode does not save them, and must not read a file
    #: twice either.
    _computed_for: t.ClassVar[dict[str, dict[str, dict[str, t.Any]]]] = {}

    def __init__(self, layout: Layout) -> None:
        self._path = layout.path("cache", "hashes.json")
        saved = read_json(self._path, {})
        self._saved: dict[str, t.Any] = saved if isinstance(saved, dict) else {}
        self._unsaved: dict[str, t.Any] = {}
        self._computed = self._computed_for.setdefault(self._path, {})

    def sha256(self, path: str) -> str:
        """Return the hex SHA-256 of a file."""
        real = os.path.realpath(path)
        stat = os.stat(real)
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        entry = self._saved.get(real)
        if isinstance(entry, dict) and entry.get("stamp") == stamp:
            return str(entry["sha256"])
        if self._computed.get(real, {}).get("stamp") != stamp:
            self._computed[real] = {"stamp": stamp, "sha256": sha256_file(real)}
        self._unsaved[real] = self._computed[real]
        return str(self._unsaved[real]["sha256"])

    def save(self) -> None:
        """Merge the new digests into the cache file, and drop the entries of files that no longer exist."""
        if not self._unsaved:
            return
        make_dirs(os.path.dirname(self._path))
        with FileLock(self._path + ".lock"):
            saved = read_json(self._path, {})
            merged = {**(saved if isinstance(saved, dict) else {}), **self._unsaved}
            kept = {path: entry for path, entry in merged.items() if os.path.exists(path)}
            if kept != saved:
                write_json(self._path, kept)

    @classmethod
    def keep(cls, layout: Layout) -> None:
        """Save what this process has computed and not saved yet, so that no other one reads the files again.

        Without an effect if it has computed nothing, or if it cannot be saved.
        """
        if not cls._computed_for.get(layout.path("cache", "hashes.json")):
            return
        cache = cls(layout)
        cache._unsaved = {path: entry for path, entry in cache._computed.items() if cache._saved.get(path) != entry}
        with contextlib.suppress(OSError, CoreError):
            cache.save()


def directory_digest(root: str, cache: HashCache) -> str:
    """Return the identity of a model's directory: a digest over names and content of the files a loader reads.

    :raises NotReadyError: if a file cannot be read.
    """
    try:
        return digest([[name, cache.sha256(os.path.join(root, name))] for name in part_names(root)])
    except OSError as error:
        raise NotReadyError("errors.unreadable", path=error.filename or root, reason=error.strerror) from error
