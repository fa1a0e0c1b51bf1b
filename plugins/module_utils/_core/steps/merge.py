# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step merge: ``llamafactory-cli export`` merges the adapter into the base; then the base's tokenizer is restored.

If no merged weights are declared, the step only determines what the adapter does to each tensor of the base
(``training.one_pass``), and the conversion merges on the way. Where this is not possible, the weights are exported.

LLaMA-Factory does not copy ``tokenizer.model``, and transformers 5 rewrites ``tokenizer_config.json`` and
``config.json`` in a form that version 4, and therefore llama.cpp's converter, misreads or cannot read. A SentencePiece
model converted without ``tokenizer.model`` silently gives worse answers.
"""

from __future__ import annotations

import collections
import os
import re
import shutil
import typing as t

from ..errors import JobError, StoreError
from ..formats.safetensors import Tensor, first_not_finite, model_files, read_model
from ..formats.yaml import yaml_text
from ..messages.message import Message
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.names import LOG_FILE
from ..runs.progress import Progress
from ..runs.spec import Toolchain
from ..system.files import list_files, read_record, remove_tree, tail_lines, write_atomic, write_json
from ..training.checkpoints import read_object
from ..training.one_pass import Change
from .one_pass import CHANGES_FILE, find_changes, is_on_the_way, write_changes
from .step import Step
from .tool_environment import (
    compute_threads,
    container,
    llamafactory,
    remove_scratch,
    require_directory,
    require_disk_space,
    tool_environment,
    weight_bytes,
)
from .tool_errors import explain

CONFIG = "export.yaml"

#: Maximum size of a weight file, in GB.
_MAX_SHARD_GB = 5

#: Arguments in ``extra`` of a training that the export needs too, to build the same model.
_SHARED_EXTRA = (
    "trust_remote_code",
    "rope_scaling",
    "resize_vocab",
    "add_tokens",
    "add_special_tokens",
    "new_special_tokens_config",
    "init_special_tokens",
    "use_fast_tokenizer",
)
_TOKEN_ARGUMENTS = ("add_tokens", "add_special_tokens", "new_special_tokens_config")

_TOKENIZER_FILES = (
    "tokenizer.model",
    "tokenizer.model.v3",
    "tekken.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
)

#: Buffers in old weight files: computed, not learnt, and no longer saved by newer versions.
_COMPUTED_BUFFER = re.compile(r"rotary_emb\.inv_freq$|\.masked_bias$|\.attn\.bias$|position_ids$")
_OUTPUT_LAYER = "lm_head.weight"

_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
_PROGRESS_BAR = re.compile(r"^(Loading weights|Writing model shards):.*?\| (\d+)/(\d+) ")


class MergeStep(Step):
    """Creates merged weights from a base and a training, or the instructions to merge on the way.

    ``options``: ``resolved`` (hyperparameters of the training, defaults filled in); ``weights`` (whether merged weights
    are required; absent: yes).

    ``results``: ``weights`` (whether there are any); without, ``modules`` (number of tensors that the adapter changes);
    with, ``tensors``, ``parameters``, ``bytes``, ``dtype``, and ``obstacle`` if they were not required; ``tokenizer``.
    """

    kind = "merge"
    exclusive = True

    def image(self, toolchain: Toolchain) -> str:
        return toolchain.llamafactory_image

    def command(self, ctx: StepContext) -> Command | None:
        venv, image = ctx.toolchain.llamafactory_venv, self.image(ctx.toolchain)
        config = os.path.join(ctx.job_dir, CONFIG)
        base = require_directory(ctx.upstream_path("base"), Message("steps.the_base"))
        trained = require_directory(ctx.upstream_path("train"), Message("steps.the_training"))
        changes: dict[str, Change] = {}
        obstacle: Message | None = None
        if not ctx.spec.options.get("weights", True):
            changes, obstacle = self._changes(ctx, base, trained)
            if obstacle is not None:
                write_json(_obstacle_file(ctx), obstacle.as_dict())
        argv = [] if changes else llamafactory(ctx, image, "export", config)
        if os.path.isdir(ctx.work):
            remove_tree(ctx.work)
        if changes:
            os.makedirs(ctx.work)
            write_changes(ctx, changes)
            return None
        size = weight_bytes(base)
        require_disk_space(ctx.work, int(size * 1.02), Message("steps.merging"))
        os.makedirs(ctx.work)
        write_atomic(config, yaml_text(export_arguments(ctx.spec.options["resolved"], base, trained, ctx.work)))
        env = tool_environment(ctx, venv, compute_threads(size, "cpu"), image)
        env["DISABLE_VERSION_CHECK"] = "1"
        if os.path.exists(_marker(ctx)):
            os.unlink(_marker(ctx))
        return Command(argv, env, ctx.job_dir, container(ctx, image, [base]))

    @staticmethod
    def _changes(ctx: StepContext, base: str, trained: str) -> tuple[dict[str, Change], Message | None]:
        changes, obstacle = find_changes(ctx, base, trained)
        if changes and _tokens_added(base, trained, ctx.spec.options["resolved"].get("extra") or {}):
            return {}, Message("training.one_pass_tokens")
        return changes, obstacle

    def progress(self, ctx: StepContext) -> Progress | None:
        for line in reversed(tail_lines(os.path.join(ctx.job_dir, LOG_FILE), 40, 16 * 1024)):
            match = _PROGRESS_BAR.match(line)
            if match:
                loading = match.group(1).startswith("Loading")
                note = Message("steps.loading" if loading else "steps.writing")
                unit = "tensor" if loading else "file"
                return Progress(current=int(match.group(2)), total=int(match.group(3)), unit=unit, note=note)
        return None

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        base = require_directory(ctx.upstream_path("base"), Message("steps.the_base"))
        if is_on_the_way(ctx.work):
            modules = read_object(os.path.join(ctx.work, CHANGES_FILE))
            return {"weights": False, "modules": len(modules), "tokenizer": "base"}
        try:
            tensors = read_model(ctx.work) if _is_exported(ctx) else {}
        except StoreError as error:
            raise JobError("steps.merged_incomplete", problem=error.content) from error
        if not tensors:
            raise JobError("steps.export_unfinished")
        missing = missing_tensors(read_model(base), tensors)
        if missing:
            raise JobError(
                "steps.tensors_lost", count=len(missing), tensor=missing[0], details={"missing": missing[:20]}
            )
        for path in model_files(ctx.work):
            name = first_not_finite(path)
            if name:
                raise JobError("steps.merged_no_numbers", tensor=name, details={"tensor": name})
        # must be written before Modelfile, the other sign of a finished export, is deleted
        write_json(_marker(ctx), {})
        tokenizer_origin = restore_base_files(base, ctx.work, ctx.spec.options["resolved"].get("extra") or {})
        remove_scratch(ctx)
        for name in list_files(ctx.work):
            os.chmod(os.path.join(ctx.work, name), 0o644)
        obstacle = read_record(_obstacle_file(ctx))
        return {
            "weights": True,
            **({"obstacle": obstacle} if obstacle else {}),
            "tensors": len(tensors),
            "parameters": sum(tensor.elements for tensor in tensors.values()),
            "bytes": weight_bytes(ctx.work),
            "dtype": dtype_of(tensors),
            "tokenizer": tokenizer_origin,
        }

    def explain(self, log_tail: t.Sequence[str]) -> Message:
        return explain(log_tail)


def _marker(ctx: StepContext) -> str:
    return os.path.join(ctx.job_dir, "exported.json")


def _obstacle_file(ctx: StepContext) -> str:
    """File with the reason why weights that are not required have to be merged."""
    return os.path.join(ctx.job_dir, "obstacle.json")


def _is_exported(ctx: StepContext) -> bool:
    """Whether the export finished: ``Modelfile``, which it writes last, exists or did exist."""
    return os.path.exists(os.path.join(ctx.work, "Modelfile")) or os.path.exists(_marker(ctx))


def export_arguments(resolved: t.Mapping[str, t.Any], base: str, trained: str, export_dir: str) -> dict[str, t.Any]:
    """The configuration of ``llamafactory-cli export``.

    Never contains ``quantization_bit``: an adapter is merged into the 16-bit base.

    :param resolved: hyperparameters of the training.
    :param base: directory of the base model.
    :param trained: directory of the training's result.
    :param export_dir: directory for the merged model.
    """
    method = str(resolved["method"])
    full_weights = method in ("full", "freeze")
    # set explicitly: LLaMA-Factory's default depends on the GPU it finds, and a full training saves 32 bits
    dtype = _DTYPES.get(dtype_of(read_model(base)), "auto")
    settings: dict[str, t.Any] = {
        "model_name_or_path": trained if full_weights else base,
        "adapter_name_or_path": None if full_weights else trained,
        "template": resolved["template"],
        "finetuning_type": method if full_weights else "lora",
        "infer_dtype": dtype,
        "export_dir": export_dir,
        "export_size": _MAX_SHARD_GB,
        "export_device": "cpu",
        "export_legacy_format": False,
    }
    extra = resolved.get("extra") or {}
    settings.update({name: extra[name] for name in _SHARED_EXTRA if name in extra})
    return settings


def dtype_of(tensors: t.Mapping[str, Tensor]) -> str:
    """The type of most elements: ``BF16``, ``F16``, ``F32``; empty when there are no tensors."""
    count: collections.Counter[str] = collections.Counter()
    for tensor in tensors.values():
        count[tensor.dtype] += tensor.elements
    return count.most_common(1)[0][0] if count else ""


def missing_tensors(base: t.Mapping[str, Tensor], merged: t.Mapping[str, Tensor]) -> list[str]:
    """Names of the base's tensors without a counterpart in the merged model, by name or by shape.

    Shapes are compared because another version of transformers may rename a tensor. Computed buffers and a tied output
    layer are ignored, because they are no longer written.
    """
    unmatched = collections.Counter(tensor.shape for name, tensor in merged.items() if name not in base)
    missing = []
    for name, tensor in base.items():
        if name in merged or _COMPUTED_BUFFER.search(name) or name == _OUTPUT_LAYER:
            continue
        if unmatched[tensor.shape] > 0:
            unmatched[tensor.shape] -= 1
        else:
            missing.append(name)
    return missing


def restore_base_files(base: str, work: str, extra: t.Mapping[str, t.Any]) -> str:
    """Restore the base's tokenizer, configuration and generation settings in the merged model.

    The export's tokenizer is kept when the training added tokens.

    :param base: directory of the base model.
    :param work: directory of the merged model.
    :param extra: ``extra`` arguments of the training.
    :returns: origin of the resulting tokenizer: ``base`` or ``export``.
    """
    modelfile = os.path.join(work, "Modelfile")
    if os.path.exists(modelfile):
        # LLaMA-Factory's file for Ollama: limits the context to 4096, and misplaces the system prompt of some templates
        os.unlink(modelfile)
    base_config, merged_config = (read_object(os.path.join(path, "config.json")) for path in (base, work))
    if base_config.get("vocab_size") == merged_config.get("vocab_size") and _same_rope(base_config, merged_config):
        # the same values in the older form, which both versions of transformers and the converter can read
        key = "dtype" if "dtype" in base_config else "torch_dtype"
        dtype = merged_config.get("dtype") or merged_config.get("torch_dtype")
        config = {**base_config, key: dtype} if dtype else base_config
        write_json(os.path.join(work, "config.json"), config)
        _copy(base, work, "generation_config.json")
    if _tokens_added(base, work, extra):
        _write_for_version_4(os.path.join(work, "tokenizer_config.json"))
        return "export"
    if _has_template(base):
        for name in ("chat_template.jinja", "chat_template.json"):
            path = os.path.join(work, name)
            if os.path.exists(path):
                os.unlink(path)
    for name in _TOKENIZER_FILES:
        _copy(base, work, name)
    return "base"


def _copy(base: str, work: str, name: str) -> None:
    source, target = os.path.join(base, name), os.path.join(work, name)
    if os.path.isfile(source):
        shutil.copyfile(source, target)


def _same_rope(base_config: t.Mapping[str, t.Any], merged_config: t.Mapping[str, t.Any]) -> bool:
    """Whether the position encoding is the same (a training may have changed it with ``rope_scaling``)."""
    rope_types = (_rope_type(config) for config in (base_config, merged_config))
    lengths = (config.get("max_position_embeddings") for config in (base_config, merged_config))
    return len(set(rope_types)) == 1 and len(set(lengths)) == 1


def _rope_type(config: t.Mapping[str, t.Any]) -> str:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return str(rope.get("rope_type") or rope.get("type") or "default")


def _has_template(directory: str) -> bool:
    if any(os.path.exists(os.path.join(directory, name)) for name in ("chat_template.jinja", "chat_template.json")):
        return True
    path = os.path.join(directory, "tokenizer_config.json")
    return os.path.exists(path) and bool(read_object(path).get("chat_template"))


def _tokens_added(base: str, work: str, extra: t.Mapping[str, t.Any]) -> bool:
    if any(extra.get(name) for name in _TOKEN_ARGUMENTS):
        return True
    base_tokens = _tokens(base)
    return bool(base_tokens) and bool(_tokens(work) - base_tokens)


def _tokens(directory: str) -> set[str]:
    """All tokens of ``tokenizer.json`` and the files beside it; empty when there is no ``tokenizer.json``."""
    path = os.path.join(directory, "tokenizer.json")
    if not os.path.exists(path):
        return set()
    tokenizer = read_object(path)
    vocabulary = (tokenizer.get("model") or {}).get("vocab") or {}
    # the vocabulary of a Unigram model has pairs of piece and score
    tokens = {str(piece if isinstance(piece, str) else piece[0]) for piece in vocabulary}
    tokens |= {str(entry["content"]) for entry in tokenizer.get("added_tokens") or []}
    for name in ("tokenizer_config.json", "added_tokens.json"):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            content = read_object(path)
            tokens |= {str(entry["content"]) for entry in (content.get("added_tokens_decoder") or {}).values()}
            tokens |= set(content) if name == "added_tokens.json" else set()
    return tokens


def _write_for_version_4(path: str) -> None:
    """Replace entries in ``tokenizer_config.json`` that only transformers 5 can read: the converter uses version 4."""
    if not os.path.exists(path):
        return
    config = read_object(path)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    write_json(path, config)
