# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an earlier attempt at a training left in its output directory, and what of it can be gone on from.

transformers' Trainer takes the checkpoint with the highest number and dies when it is torn; it never falls back
to the one before. LLaMA-Factory refuses to start where final weights lie beside no checkpoint, and overwrites the
metrics of a training that was finished (its issue 9325). So all of this is decided before it starts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import typing as t
import zipfile

from ..errors import StoreError
from ..formats.safetensors import ADAPTER, INDEX, SINGLE, VALUE_HEAD, read_model, read_tensors
from ..system.files import remove_tree, write_json

STATE = "trainer_state.json"
METRICS = "all_results.json"
PLOT = "training_loss.png"

_CHECKPOINT = re.compile(r"checkpoint-(\d+)\Z")
#: Lies in a checkpoint while transformers writes it on SIGTERM (``trainer_jit_checkpoint.py``).
_INCOMPLETE = "checkpoint-is-incomplete.txt"
#: The optimizer's state, as the Trainer alone, DeepSpeed and FSDP write it.
_OPTIMIZER = re.compile(r"optimizer\.(pt|bin)\Z|optimizer_\d+\Z|global_step\d+\Z")


@dataclasses.dataclass(frozen=True)
class Attempt:
    """What an output directory holds.

    :param finished: all steps were done and everything was saved.
    :param step: the last whole checkpoint; None when there is none.
    :param broken: names of checkpoints after it that are not whole, with the reason.
    """

    finished: bool = False
    step: int | None = None
    broken: dict[str, str] = dataclasses.field(default_factory=dict)


def read_object(path: str) -> dict[str, t.Any]:
    """A JSON object another program wrote.

    :raises StoreError: when it is missing or torn.
    """
    try:
        with open(path, "rb") as stream:
            found = json.loads(stream.read().decode("utf-8"))
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise StoreError(f"{path} is not whole JSON.") from error
    if not isinstance(found, dict):
        raise StoreError(f"{path} is not a JSON object.")
    return found


def inspect(work: str) -> Attempt:
    """Look at an output directory; changes nothing."""
    broken: dict[str, str] = {}
    for step, name in checkpoints(work):
        reason = defect(os.path.join(work, name), step)
        if not reason:
            return Attempt(finished(work), step, broken)
        broken[name] = reason
    return Attempt(finished(work), None, broken)


def checkpoints(work: str) -> list[tuple[int, str]]:
    """Steps and names of the checkpoints, the last first, whole or not."""
    try:
        names = os.listdir(work)
    except FileNotFoundError:
        return []
    found = [(int(match.group(1)), name) for name in names for match in [_CHECKPOINT.match(name)] if match]
    return sorted(found, reverse=True)


def defect(path: str, step: int) -> str:
    """Why a checkpoint cannot be gone on from, in a few words; empty when it can.

    What is read is little, whatever the size: the directory at the end of zip files, headers, JSON.
    """
    try:
        names = os.listdir(path)
        if _INCOMPLETE in names:
            return "it was being written"
        if read_object(os.path.join(path, STATE)).get("global_step") != step:
            return f"{STATE} tells another step"
        if not weights_complete(path):
            return "it holds no weights"
    except (OSError, StoreError) as error:
        return str(error)
    if not any(_OPTIMIZER.match(name) for name in names):
        return "the optimizer's state is missing"
    for name in sorted(names):
        # torch.save writes a zip file, whose directory comes last
        if name.endswith((".pt", ".pth")) and not _zip_is_complete(os.path.join(path, name)):
            return f"{name} is not whole"
    return ""


def _zip_is_complete(path: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def weights_complete(directory: str) -> bool:
    """Whether a directory holds weights: an adapter, or a whole model.

    :raises StoreError: when a weight file is there and not whole.
    """
    adapter = os.path.join(directory, ADAPTER)
    if os.path.exists(adapter):
        return bool(read_tensors(adapter))
    return bool(read_model(directory))


def finished(work: str) -> bool:
    """Whether a training came to its end and saved everything (the loss plot, drawn last, may be missing)."""
    try:
        read_object(os.path.join(work, METRICS))
        return is_complete(read_object(os.path.join(work, STATE))) and weights_complete(work)
    except StoreError:
        return False


def is_complete(state: t.Mapping[str, t.Any]) -> bool:
    """Whether a ``trainer_state.json`` tells of all steps done, or of an early stopping that was asked for."""
    current, total = state.get("global_step"), state.get("max_steps")
    if not isinstance(current, int) or not isinstance(total, int) or total <= 0:
        return False
    return current >= total or _stopped_early(state)


def _stopped_early(state: t.Mapping[str, t.Any]) -> bool:
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        stopping = state["stateful_callbacks"]["EarlyStoppingCallback"]
        patience = stopping["args"]["early_stopping_patience"]
        return bool(stopping["attributes"]["early_stopping_patience_counter"] >= patience > 0)
    return False


def prepare(work: str) -> Attempt:
    """Make an output directory ready for the next attempt: go on from the last whole checkpoint, or begin clean.

    :returns: what was found; a finished attempt is left as it is.
    """
    found = inspect(work)
    if found.finished:
        return found
    if found.step is None:
        if os.path.isdir(work):
            remove_tree(work)
        os.makedirs(work)
        return found
    for name in found.broken:
        remove_tree(os.path.join(work, name))
    for name in os.listdir(work):
        # of an attempt that was stopped: what is finished shall be told by what this attempt writes
        path = os.path.join(work, name)
        if os.path.isfile(path) and (
            name
            in (ADAPTER, VALUE_HEAD, SINGLE, INDEX, STATE, METRICS, "train_results.json", "eval_results.json", PLOT)
            or re.match(r"model-\d+-of-\d+\.safetensors\Z", name)
        ):
            os.unlink(path)
    return found


def resumable(work: str) -> list[int]:
    """Steps of all checkpoints that can be gone on from; changes nothing."""
    return [step for step, name in checkpoints(work) if not defect(os.path.join(work, name), step)]


def drop_after(work: str, step: int | None) -> bool:
    """Leave no checkpoint after a step, or none at all; whether one had to go."""
    later = [name for number, name in checkpoints(work) if step is None or number > step]
    for name in later:
        remove_tree(os.path.join(work, name))
    return bool(later)


def clean_output(work: str) -> None:
    """Take out of a finished output directory what only a resume needs, and what tells of this machine."""
    for name in os.listdir(work):
        path = os.path.join(work, name)
        if os.path.isdir(path) and (_CHECKPOINT.match(name) or name.startswith(".gone-") or name == "runs"):
            shutil.rmtree(path)
        elif name in ("training_args.bin", "README.md"):
            # a pickle, and a model card generated without knowing the model: paths of this machine in both
            os.unlink(path)


def normalise_adapter(work: str, base: str) -> None:
    """Write an adapter's configuration so that the same training leaves the same bytes.

    It is told which weights it belongs to, since it may have been trained over links to them; and PEFT writes the
    names of the modules in the order of a set, which is another one in each process.
    """
    path = os.path.join(work, "adapter_config.json")
    if os.path.exists(path):
        config = {**read_object(path), "base_model_name_or_path": base}
        for key, value in config.items():
            if key.endswith("_modules") and isinstance(value, list):
                config[key] = sorted(value)
        write_json(path, config)
