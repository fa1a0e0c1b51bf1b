# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of a model tell: its shape, its chat template, whether they are all there, and their digest."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import typing as t

from ..artifacts.layout import Layout
from ..errors import InputError, NotReadyError, StoreError
from ..fingerprint import digest
from ..formats.safetensors import INDEX, SINGLE, read_model
from ..system.files import make_dirs, read_json, sha256_file, write_json
from ..system.locks import FileLock
from .catalogue import Shape

#: Endings of the files that make a model what it is; only those at the top are loaded.
_PARTS = (".safetensors", ".bin", ".json", ".model", ".txt", ".jinja", ".tiktoken", ".py")
#: What a training or this program leaves beside a model and no loader reads.
_NOT_PARTS = (
    "receipt.json",
    "training_args.bin",
    "trainer_state.json",
    "trainer_log.jsonl",
    "all_results.json",
    "train_results.json",
    "eval_results.json",
)
_MAX_CONFIG = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What the configuration of a model tells.

    :param shape: how it is built; None when its configuration does not have the usual keys.
    :param model_type: ``model_type`` of ``config.json``.
    :param template: LLaMA-Factory's chat template; empty when it could not be derived.
    :param reason: what the template was derived from, or why it was not.
    """

    shape: Shape | None
    model_type: str
    template: str
    reason: str


def shape_from_config(config: t.Mapping[str, t.Any], parameters: int = 0) -> Shape | None:
    """The shape that a ``config.json`` describes (the language part of a model that also sees); None if it does not.

    :param parameters: all parameters of the weights, when known.
    """
    outer = str(config.get("model_type", ""))
    text = config.get("text_config")
    inner: t.Mapping[str, t.Any] = text if isinstance(text, dict) else config
    try:
        hidden, heads = int(inner["hidden_size"]), int(inner["num_attention_heads"])
        kv_heads = int(inner.get("num_key_value_heads") or heads)
        # Gemma ties by default and so does not say it; the others write it down
        tied = bool(config.get("tie_word_embeddings", inner.get("tie_word_embeddings", outer.startswith("gemma"))))
        return Shape(
            model_type=outer,
            layers=int(inner["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(inner["intermediate_size"]),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=int(inner.get("head_dim") or hidden // heads),
            vocabulary=int(inner["vocab_size"]),
            parameters=parameters,
            tied=tied,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def chat_template_of(tokenizer_config: t.Mapping[str, t.Any]) -> str:
    """The chat template inside a ``tokenizer_config.json`` (or ``chat_template.json``); empty when there is none."""
    found = tokenizer_config.get("chat_template")
    if isinstance(found, list):  # several by name: the one for ordinary chats
        named = {str(each.get("name")): each.get("template") for each in found if isinstance(each, dict)}
        found = named.get("default") or next(iter(named.values()), "")
    return found if isinstance(found, str) else ""


def derive_template(model_type: str, chat_template: str) -> tuple[str, str]:
    """LLaMA-Factory's template that writes what a model's own chat template writes.

    :param model_type: ``model_type`` of its ``config.json``.
    :param chat_template: the Jinja text that came with its tokenizer.
    :returns: the template (empty when it cannot be told) and what it was derived from.
    """
    text = chat_template
    if not text:
        by_type = {"qwen2": "qwen", "qwen3": "qwen3", "gemma": "gemma", "gemma2": "gemma2", "gemma3_text": "gemma2"}
        by_type.update(gemma3="gemma3", mistral="mistral")
        found = by_type.get(model_type, "")
        return found, f"its model_type {model_type!r} (it has no chat template)" if found else "it has no chat template"
    if "<|im_sep|>" in text:
        return "phi4", "<|im_sep|> in its chat template"
    if "<|im_start|>" in text:
        return _derive_chatml(model_type, text)
    if "<|start_header_id|>" in text:
        return "llama3", "<|start_header_id|> in its chat template"
    if "<start_of_turn>" in text:
        by_type = {"gemma3": "gemma3", "gemma2": "gemma2", "gemma3_text": "gemma2"}
        return by_type.get(model_type, "gemma"), f"<start_of_turn> in its chat template and model_type {model_type!r}"
    if "<｜User｜>" in text:
        thinks = "think>" in text
        return "deepseekr1" if thinks else "deepseek3", "<｜User｜> in its chat template" + " with thoughts" * thinks
    if "[SYSTEM_PROMPT]" in text:
        return "mistral_small", "[SYSTEM_PROMPT] in its chat template"
    if "[INST]" in text:
        if "<<SYS>>" in text:
            return "llama2", "<<SYS>> in its chat template"
        blank = "[INST] " in text
        return (
            "mistral" if blank else "ministral",
            f"[INST] {'with' if blank else 'without'} a blank in its chat template",
        )
    if "<|end|>" in text:
        newline = "<|end|>\\n" in text or "<|end|>\n" in text
        return "phi" if newline else "phi4_mini", "<|end|> in its chat template"
    if "<|user|>" in text and "eos_token" in text:
        return "zephyr", "<|user|> in its chat template"
    return "", "its chat template is none of those known"


def _derive_chatml(model_type: str, text: str) -> tuple[str, str]:
    where = "<|im_start|> in its chat template"
    if model_type.startswith("qwen3"):
        return ("qwen3", where + " with thoughts") if "think>" in text else ("qwen3_nothink", where)
    if "You are Qwen" in text or model_type.startswith("qwen2"):
        return "qwen", where + " of a Qwen model"
    if "SmolLM" in text:
        return "smollm2", where + " that names SmolLM"
    return "chatml", where


def inspect_files(read: t.Callable[[str], bytes | None], parameters: int = 0) -> Inspection:
    """What the small files of a model tell, wherever they are read from.

    :param read: the content of a file by its name; None when there is no such file.
    :param parameters: all parameters of the weights, when known.
    :raises InputError: when there is no ``config.json``, or it is not JSON.
    """
    config = _as_object("config.json", read("config.json"))
    if config is None:
        raise InputError("There is no config.json.", "Give weights in the Hugging Face format (safetensors).")
    model_type = str(config.get("model_type", ""))
    jinja = read("chat_template.jinja")
    text = jinja.decode("utf-8", "replace") if jinja else ""
    for name in ("tokenizer_config.json", "chat_template.json"):
        text = text or chat_template_of(_as_object(name, read(name)) or {})
    template, reason = derive_template(model_type, text)
    return Inspection(shape_from_config(config, parameters), model_type, template, reason)


def _as_object(name: str, raw: bytes | None) -> dict[str, t.Any] | None:
    if raw is None:
        return None
    try:
        value = json.loads(raw.decode("utf-8"))
    except ValueError as error:
        raise InputError(f"{name} is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise InputError(f"{name} is not a JSON object.")
    return value


def inspect_directory(root: str) -> Inspection:
    """What a model's directory tells. Reads the configuration and the headers of the weights, not the weights.

    :raises InputError: when it is no directory, or holds no whole model.
    """
    if not os.path.isdir(root):
        raise InputError(
            f"The base model {root} is not a directory on this host.",
            "Put the model's files there, or declare a name of Ollama's library or an id on the hub.",
        )

    def read(name: str) -> bytes | None:
        try:
            with open(os.path.join(root, name), "rb") as stream:
                return stream.read(_MAX_CONFIG)
        except FileNotFoundError:
            return None

    try:
        found = inspect_files(read)
        counted = count_parameters_in(root, found.shape.tied if found.shape else False)
        if found.shape is not None:
            found = dataclasses.replace(found, shape=dataclasses.replace(found.shape, parameters=counted))
        return found
    except InputError as error:
        raise InputError(f"The base model in {root} is not whole: {error.message}", error.hint) from error
    except PermissionError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}.") from error


def count_parameters_in(root: str, tied: bool) -> int:
    """Parameters of the weights in a directory, each of which must be whole; 0 when they are not in safetensors.

    Only the headers are read. Adapters and GGUF files are no base model.

    :param tied: whether the output layer is the embedding matrix: some weights hold it a second time all the same.
    :raises InputError: when weights are missing or cut short.
    """
    try:
        tensors = read_model(root)
    except StoreError as error:
        raise InputError(error.message, "Fetch or copy it again; it may also hold Git LFS pointers.") from error
    names = os.listdir(root)
    weights = weight_files(names)
    if not tensors and any(name.endswith(".safetensors") for name in weights):
        raise InputError(f"There is {weights[0]} but no {INDEX} that says what is in which file.")
    if not weights:
        if "adapter_config.json" in names:
            raise InputError("It is an adapter.", "Merge it first, and give the merged weights.")
        if any(name.endswith(".gguf") for name in names):
            raise InputError("It holds GGUF files, which cannot be trained.", "Give the Hugging Face weights.")
        raise InputError("There are no weights (model*.safetensors or pytorch_model*.bin).")
    return sum(tensor.elements for name, tensor in tensors.items() if not (tied and name == "lm_head.weight"))


def weight_files(names: t.Iterable[str]) -> list[str]:
    """Of the files of a model, those a loader takes the weights from: safetensors, or else PyTorch's ``.bin``."""
    given = set(names)
    for single in (SINGLE, "pytorch_model.bin"):
        stem, _dot, ending = single.rpartition(".")
        shards = sorted(name for name in given if re.fullmatch(rf"{stem}-\d+-of-\d+\.{ending}", name))
        if single in given or shards:
            return [single] if single in given else shards
    return []


def part_names(root: str) -> list[str]:
    """Names of the files that make a model's directory what it is, sorted."""
    return sorted(
        entry.name
        for entry in os.scandir(root)
        if entry.name.endswith(_PARTS) and entry.name not in _NOT_PARTS and entry.name[0] != "." and entry.is_file()
    )


class HashCache:
    """Digests of big files, so that a file that has not changed is not read again.

    Kept in ``cache/hashes.json`` of the data directory, by path; an entry counts only while size, modification
    time and inode are what they were. Looking changes nothing; :meth:`save` is for those who may write.
    """

    #: What this process has read: check mode writes nothing down, and reads nothing twice all the same.
    _read: t.ClassVar[dict[str, dict[str, t.Any]]] = {}

    def __init__(self, layout: Layout) -> None:
        self._path = layout.path("cache", "hashes.json")
        known = read_json(self._path, {})
        self._known: dict[str, t.Any] = known if isinstance(known, dict) else {}
        self._fresh: dict[str, t.Any] = {}

    def sha256(self, path: str) -> str:
        """Hex SHA-256 of a file."""
        real = os.path.realpath(path)
        stat = os.stat(real)
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        entry = self._known.get(real)
        if isinstance(entry, dict) and entry.get("stamp") == stamp:
            return str(entry["sha256"])
        if self._read.get(real, {}).get("stamp") != stamp:
            self._read[real] = {"stamp": stamp, "sha256": sha256_file(real)}
        self._fresh[real] = self._read[real]
        return str(self._fresh[real]["sha256"])

    def save(self) -> None:
        """Write what was found out, beside what others have written; entries of files that are gone are dropped."""
        if not self._fresh:
            return
        make_dirs(os.path.dirname(self._path))
        with FileLock(self._path + ".lock"):
            known = read_json(self._path, {})
            merged = {**(known if isinstance(known, dict) else {}), **self._fresh}
            write_json(self._path, {path: entry for path, entry in merged.items() if os.path.exists(path)})


def directory_digest(root: str, cache: HashCache) -> str:
    """The identity of a model's directory: a digest over names and content of the files a loader reads.

    :raises NotReadyError: when a file cannot be read.
    """
    try:
        return digest([[name, cache.sha256(os.path.join(root, name))] for name in part_names(root)])
    except OSError as error:
        raise NotReadyError(f"{error.filename or root} cannot be read: {error.strerror}.") from error
