# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspects and prepares the output directory of a training, so that an interrupted one can resume.

transformers' Trainer loads the checkpoint with the highest number and fails when it is corrupt; it never falls back
to an earlier one. LLaMA-Factory refuses to start when the directory has final weights but no checkpoint, and it
overwrites the metrics of a finished training (its issue 9325). All of this is therefore decided before it starts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import shutil
import typing as t
import zipfile

from ..artifacts.layout import LOSS_PLOT_FILE, MODEL_CARD_FILE
from ..errors import StoreError
from ..formats.safetensors import ADAPTER, INDEX, SINGLE, VALUE_HEAD, read_model, read_tensors
from ..json_text import parse_json
from ..system.files import REMOVED, remove_tree, write_json

STATE = "trainer_state.json"
METRICS = "all_results.json"

_CHECKPOINT = re.compile(r"checkpoint-(\d+)\Z")
#: Present in a checkpoint while transformers writes it on SIGTERM (``trainer_jit_checkpoint.py``).
_INCOMPLETE = "checkpoint-is-incomplete.txt"
#: The optimizer's state, as the Trainer alone, DeepSpeed and FSDP write it.
_OPTIMIZER = re.compile(r"optimizer\.(pt|bin)\Z|optimizer_\d+\Z|global_step\d+\Z")


@dataclasses.dataclass(frozen=True)
class Attempt:
    """State of an output directory.

    :param finished: whether all steps were done and everything was saved.
    :param step: step of the last complete checkpoint; None when there is none.
    :param broken: later checkpoints that are corrupt or incomplete: name → reason.
    """

    finished: bool = False
    step: int | None = None
    broken: dict[str, str] = dataclasses.field(default_factory=dict)


def read_object(path: str) -> dict[str, t.Any]:
    """Read a JSON object that another program wrote.

    :raises StoreError: when the file is missing, truncated, or not a JSON object.
    """
    try:
        with open(path, "rb") as stream:
            value = parse_json(stream.read().decode("utf-8"))
    except OSError as error:
        raise StoreError("errors.unreadable", path=path, reason=error.strerror) from error
    except ValueError as error:
        raise StoreError("errors.invalid_json", path=path) from error
    if not isinstance(value, dict):
        raise StoreError("errors.no_json_object", path=path)
    return value


def inspect(work: str, takes_best: bool = False) -> Attempt:
    """Inspect an output directory. Read-only.

    :param takes_best: whether the result will be the best checkpoint, which a resumed training then needs, too.
    """
    broken: dict[str, str] = {}
    for step, name in checkpoints(work):
        reason = defect(os.path.join(work, name), step, takes_best)
        if not reason:
            return Attempt(finished(work), step, broken)
        broken[name] = reason
    return Attempt(finished(work), None, broken)


def checkpoints(work: str) -> list[tuple[int, str]]:
    """Steps and names of all checkpoints, complete or not, latest first."""
    try:
        names = os.listdir(work)
    except FileNotFoundError:
        return []
    numbered = [(int(match.group(1)), name) for name in names for match in [_CHECKPOINT.match(name)] if match]
    return sorted(numbered, reverse=True)


def defect(path: str, step: int, takes_best: bool = False) -> str:
    """Why a training cannot resume from a checkpoint, as a short reason; empty when it can.

    Cheap at any size: reads only the central directory at the end of zip files, headers, and JSON.

    :param takes_best: as for :func:`inspect`.
    """
    try:
        names = os.listdir(path)
        if _INCOMPLETE in names:
            return "it was being written"
        state = read_object(os.path.join(path, STATE))
        if state.get("global_step") != step:
            return f"{STATE} records another step"
        if not weights_complete(path):
            return "it holds no weights"
        before = best(state) if takes_best else None
        if before is not None and not has_checkpoint(os.path.dirname(path), before[0]):
            return f"checkpoint-{before[0]}, the best one before it, is incomplete"
    except (OSError, StoreError) as error:
        return str(error)
    if not any(_OPTIMIZER.match(name) for name in names):
        return "the optimizer's state is missing"
    for name in sorted(names):
        # torch.save writes a zip file; its central directory comes last, so a truncated file has none
        if name.endswith((".pt", ".pth")) and not _zip_is_complete(os.path.join(path, name)):
            return f"{name} is incomplete"
    return ""


def best(state: t.Mapping[str, t.Any]) -> tuple[int, float] | None:
    """Step and validation loss of the best checkpoint that a ``trainer_state.json`` records; None if it has none."""
    # the path is one of the container or host that trained
    match = _CHECKPOINT.match(os.path.basename(str(state.get("best_model_checkpoint") or "")))
    loss = state.get("best_metric")
    if match is None or not isinstance(loss, (int, float)) or not math.isfinite(loss):
        return None
    return int(match.group(1)), float(loss)


def has_checkpoint(work: str, step: int) -> bool:
    """Whether the checkpoint of a step has complete weights."""
    try:
        return weights_complete(os.path.join(work, f"checkpoint-{step}"))
    except (OSError, StoreError):
        return False


def _zip_is_complete(path: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def weights_complete(directory: str) -> bool:
    """Whether a directory contains weights: an adapter, or a full model.

    :raises StoreError: when a weight file exists but is incomplete.
    """
    adapter = os.path.join(directory, ADAPTER)
    if os.path.exists(adapter):
        return bool(read_tensors(adapter))
    return bool(read_model(directory))


def finished(work: str) -> bool:
    """Whether a training finished and saved everything (the loss plot, drawn last, may be missing)."""
    try:
        read_object(os.path.join(work, METRICS))
        return is_complete(read_object(os.path.join(work, STATE))) and weights_complete(work)
    except StoreError:
        return False


def is_complete(state: t.Mapping[str, t.Any]) -> bool:
    """Whether a ``trainer_state.json`` records that all steps were done, or a configured early stop."""
    current, total = state.get("global_step"), state.get("max_steps")
    if not isinstance(current, int) or not isinstance(total, int) or total <= 0:
        return False
    return current >= total or stopped_early(state)


def stopped_early(state: t.Mapping[str, t.Any]) -> bool:
    """Whether a ``trainer_state.json`` records that enough evaluations in a row had no lower loss."""
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        stopping = state["stateful_callbacks"]["EarlyStoppingCallback"]
        patience = stopping["args"]["early_stopping_patience"]
        without_lower_loss = stopping["attributes"]["early_stopping_patience_counter"]
        return bool(without_lower_loss >= patience > 0) and not _is_within_epoch(state)
    return False


def _is_within_epoch(state: t.Mapping[str, t.Any]) -> bool:
    """Whether a state is that of a step after which a training does not evaluate unless it is stopped there.

    A Trainer that evaluates after each epoch takes the step at which SIGTERM stops it for the end of one.
    """
    epoch, step, every = state.get("epoch"), state.get("global_step"), state.get("eval_steps")
    if not isinstance(epoch, (int, float)) or abs(epoch - round(epoch)) < 1e-6:
        return False
    return not (isinstance(step, int) and isinstance(every, int) and every > 0 and step % every == 0)


def _discount_stop(path: str) -> None:
    """Take the evaluation at a stop within an epoch out of the count of those without a lower loss.

    :param path: of the checkpoint from which a training resumes.
    """
    state = read_object(os.path.join(path, STATE))
    evaluated = [entry.get("step") for entry in state.get("log_history") or [] if "eval_loss" in entry]
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        counted = state["stateful_callbacks"]["EarlyStoppingCallback"]["attributes"]
        name = "early_stopping_patience_counter"
        if counted[name] > 0 and _is_within_epoch(state) and evaluated[-1:] == [state["global_step"]]:
            counted[name] -= 1
            # removed from the log, so that it is discounted once
            state["log_history"] = [
                entry
                for entry in state["log_history"]
                if "eval_loss" not in entry or entry.get("step") != state["global_step"]
            ]
            write_json(os.path.join(path, STATE), state)


def prepare(work: str, takes_best: bool = False) -> Attempt:
    """Prepare an output directory for the next attempt: resume from the last complete checkpoint, or start clean.

    :param takes_best: as for :func:`inspect`.
    :returns: the state before the preparation; the directory of a finished training is left unchanged.
    """
    attempt = inspect(work, takes_best)
    if attempt.finished:
        return attempt
    if attempt.step is None:
        if os.path.isdir(work):
            remove_tree(work)
        os.makedirs(work)
        return attempt
    _discount_stop(os.path.join(work, f"checkpoint-{attempt.step}"))
    for name in attempt.broken:
        remove_tree(os.path.join(work, name))
    for name in os.listdir(work):
        # final files of a stopped attempt: they would make this attempt look finished
        path = os.path.join(work, name)
        if os.path.isfile(path) and (
            name
            in (
                ADAPTER,
                VALUE_HEAD,
                SINGLE,
                INDEX,
                STATE,
                METRICS,
                "train_results.json",
                "eval_results.json",
                LOSS_PLOT_FILE,
            )
            or re.match(r"model-\d+-of-\d+\.safetensors\Z", name)
        ):
            os.unlink(path)
    return attempt


def resumable(work: str, takes_best: bool = False) -> list[int]:
    """Steps of all checkpoints that a training can resume from. Read-only.

    :param takes_best: as for :func:`inspect`.
    """
    return [step for step, name in checkpoints(work) if not defect(os.path.join(work, name), step, takes_best)]


def drop_after(work: str, step: int | None) -> bool:
    """Delete all checkpoints after ``step``, or all when it is None.

    :returns: whether any checkpoint was deleted.
    """
    later = [name for number, name in checkpoints(work) if step is None or number > step]
    for name in later:
        remove_tree(os.path.join(work, name))
    return bool(later)


def clean_output(work: str) -> None:
    """Delete from a finished output directory what only a resume needs, and files that expose local paths."""
    for name in os.listdir(work):
        path = os.path.join(work, name)
        if os.path.isdir(path) and (_CHECKPOINT.match(name) or name.startswith(REMOVED) or name == "runs"):
            shutil.rmtree(path)
        elif name in ("training_args.bin", MODEL_CARD_FILE):
            # a pickle and a generated model card: both contain paths of this machine
            os.unlink(path)


def normalise_adapter(work: str, base: str) -> None:
    """Rewrite an adapter's configuration so that the same training produces the same bytes.

    The path of the base is set, because the training may have used a directory of links to it. Module names are
    sorted, because PEFT writes them in the iteration order of a set, which differs between processes.

    :param base: directory of the base model.
    """
    path = os.path.join(work, "adapter_config.json")
    if os.path.exists(path):
        config = {**read_object(path), "base_model_name_or_path": base}
        for key, value in config.items():
            if key.endswith("_modules") and isinstance(value, list):
                config[key] = sorted(value)
        write_json(path, config)
