# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step train: runs ``llamafactory-cli train`` in a separate output directory, and resumes an interrupted training."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import math
import os
import re
import signal
import subprocess
import typing as t

from ..artifacts.layout import LOSS_PLOT_FILE, TRAINER_LOG_FILE
from ..base_models.model_files import special_tokens
from ..chat_formats.house_format import written_format
from ..chat_formats.thinking import FROM_ROWS
from ..datasets import held_out_rows, training_rows, truncation, validation_split
from ..datasets.output_formats import INFO_FILE
from ..distributed.node_link import Leader, Link
from ..distributed.nodes import Nodes, read_agreement
from ..distributed.nodes import environment as node_environment
from ..errors import JobError, NotReadyError, StoreError
from ..formats.safetensors import ADAPTER, VALUE_HEAD, all_zero, first_not_finite, model_files, read_tensors
from ..formats.yaml import yaml_text
from ..messages.message import Message
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.names import LOG_FILE
from ..runs.progress import Progress
from ..runs.spec import Toolchain
from ..system import gpus as system_gpus
from ..system.files import list_files, read_json, write_atomic, write_json
from ..training import checkpoints, extra_files, optimizer_steps, trainer_log
from ..training.adapter_targets import named_targets
from ..training.findings import findings
from ..training.float32_base import in_float32
from ..training.hyperparameters import llamafactory_train_arguments, precision
from . import prompt_probes, training_gpus
from .step import Step
from .tool_environment import (
    compute_threads,
    container,
    llamafactory,
    paths_in,
    remove_scratch,
    require_directory,
    require_disk_space,
    scratch,
    tool_environment,
    weight_bytes,
)
from .tool_errors import explain

CONFIG = "train.yaml"
#: Statistics of the rows, determined before the training, in the work directory.
ROWS = "rows.json"

#: Program that draws the loss plot of a training that was killed after its last save and before the plot.
_PLOT = "import sys; from llamafactory.extras.ploting import plot_loss; plot_loss(sys.argv[1], ['loss', 'eval_loss'])"

#: Shell code for an image, where the version of transformers can only be detected inside (:func:`_saves_on_sigterm`).
_ENABLE_JIT_CHECKPOINT = """
"${python:-python3}" -c 'import importlib.util, os, sys
root = importlib.util.find_spec("transformers").submodule_search_locations[0]
sys.exit(not os.path.exists(os.path.join(root, "trainer_jit_checkpoint.py")))' && set -- "$@" enable_jit_checkpoint=true
"""

#: Bytes read from the start of the log, to find the number of trainable parameters.
_LOG_HEAD_BYTES = 4 * 1024 * 1024
_TRAINABLE = re.compile(r"trainable params: ([\d,]+) \|\|")

#: Matrices B of a LoRA adapter as PEFT names them: of linear layers and of embeddings.
_MATRIX_B = re.compile(r"\.lora_(?:embedding_)?B(?:\.|\Z)")

#: Seconds for a training to finish its current step and save a checkpoint after SIGTERM.
_STOP_SECONDS = 600.0


class TrainStep(Step):
    """Trains an adapter (or full weights) from a base and a dataset.

    ``options``: ``resolved`` (all hyperparameters, defaults filled in), ``accelerator`` (``cpu`` or ``cuda``),
    ``name`` (of the fine-tune), ``nodes`` (for a distributed training: :class:`distributed.nodes.Nodes`).
    """

    kind = "train"
    exclusive = True

    def on_gpu(self, ctx: StepContext) -> bool:
        return _accelerator(ctx) == "cuda"

    def image(self, toolchain: Toolchain) -> str:
        return toolchain.llamafactory_image

    def link(self, ctx: StepContext, session: str) -> Link | None:
        raw = ctx.spec.options.get("nodes")
        if not raw:
            return None
        nodes = dataclasses.replace(Nodes.from_dict(raw), session=session)
        trained = checkpoints.finished(ctx.work)
        return Leader(nodes, ctx.spec.fingerprint, ctx.job_dir, resumable_steps(ctx), trained, explain_restart(ctx))

    def command(self, ctx: StepContext) -> Command | None:
        venv, image = ctx.toolchain.llamafactory_venv, self.image(ctx.toolchain)
        python = ctx.toolchain.program(venv, "bin", "python", image=image)
        base = require_directory(ctx.upstream_path("base"), Message("steps.the_base"))
        distributed = ctx.spec.options.get("nodes")
        if distributed and not checkpoints.finished(ctx.work):
            self._drop_unshared_checkpoints(ctx)
        attempt = checkpoints.prepare(ctx.work, _takes_best(ctx))
        env = tool_environment(ctx, venv, compute_threads(weight_bytes(base), _accelerator(ctx)), image)
        extra = ctx.spec.options["resolved"].get("extra") or {}
        extra_files.require_unchanged(ctx.layout, ctx.spec.settings, extra)
        named = {*paths_in(extra.values()), *(path for paths in extra_files.paths(extra).values() for path in paths)}
        isolation = container(ctx, image, [base, *sorted(named)], _accelerator(ctx) == "cuda")
        # the version check queries the package index; RECORD_VRAM logs the peak GPU memory in trainer_log.jsonl
        env.update(DISABLE_VERSION_CHECK="1", RECORD_VRAM="1")
        if extra.get("deepspeed"):
            env["FORCE_TORCHRUN"] = "1"  # otherwise the launcher starts a plain process with a single GPU
            env["TORCH_EXTENSIONS_DIR"] = _extensions_directory(ctx, image or venv)
        if distributed:
            nodes, agreement = Nodes.from_dict(distributed), read_agreement(ctx.job_dir)
            env.update(node_environment(nodes, agreement, _accelerator(ctx)))
            isolation = dataclasses.replace(isolation, network="host") if isolation else None
        # a training that an earlier version began uses all GPUs to its end
        gpus = ctx.spec.options["resolved"].get("gpus")
        if gpus and _accelerator(ctx) == "cuda":
            variables, isolation = training_gpus.assigned(gpus, env, isolation, system_gpus.gpus())
            env.update(variables)
            env.update(training_gpus.launch_environment(gpus, bool(distributed or extra.get("deepspeed"))))
        if attempt.finished:
            if os.path.exists(os.path.join(ctx.work, LOSS_PLOT_FILE)):
                return None
            return Command([python, "-c", _PLOT, ctx.work], env, ctx.job_dir, isolation)
        disk_needed = ((ctx.spec.options.get("estimate") or {}).get("disk") or {}).get("train")
        if disk_needed:
            disk_used = sum(os.path.getsize(os.path.join(ctx.work, name)) for name in list_files(ctx.work))
            require_disk_space(ctx.work, int(disk_needed), Message("steps.training"), disk_used)
        for name, reason in attempt.broken.items():
            _append_log(ctx, f"{name} is put aside: {reason}")
        rows: dict[str, t.Any] = {}
        tokens = special_tokens(base)
        settings = self._settings(ctx, base, attempt.step, rows, env, tokens)
        if rows:
            write_json(os.path.join(ctx.work, ROWS), rows)
        if ctx.spec.options["resolved"].get("template"):
            env.update(prompt_probes.prepare(ctx, ctx.spec.options["resolved"], base, *tokens))
        config = os.path.join(ctx.job_dir, CONFIG)
        write_atomic(config, yaml_text(settings))
        argv = llamafactory(ctx, image, "train", config, before="" if distributed else _ENABLE_JIT_CHECKPOINT)
        return Command(argv, env, ctx.job_dir, isolation)

    @staticmethod
    def _drop_unshared_checkpoints(ctx: StepContext) -> None:
        """Delete the checkpoints that not all nodes have."""
        if checkpoints.drop_after(ctx.work, read_agreement(ctx.job_dir).resume):
            _append_log(ctx, f"A checkpoint of an earlier attempt is dropped. {explain_restart(ctx)}")

    @staticmethod
    def _count_long_rows(
        ctx: StepContext, base: str, dataset: str, env: t.Mapping[str, str], numbers: t.Sequence[int]
    ) -> dict[str, t.Any]:
        """Count the rows that are too long, and write the result to the log.

        Informational only: a failed count is logged and otherwise ignored.

        :param dataset: directory of the rows as they are trained on; :param numbers: of the rows in the dataset.
        """
        python = os.path.join(ctx.toolchain.llamafactory_venv, "bin", "python")
        try:
            count = truncation.count(python, base, dataset, ctx.spec.options["resolved"], env, numbers)
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            _append_log(ctx, f"Whether rows are longer than cutoff_len was not counted: {error}")
            return {}
        if count and truncation.describe_count(count):
            _append_log(ctx, truncation.describe_count(count))
        return {"too_long": count} if count else {}

    def _settings(
        self,
        ctx: StepContext,
        base: str,
        step: int | None,
        statistics: dict[str, t.Any],
        env: t.Mapping[str, str],
        tokens: tuple[str, str],
    ) -> dict[str, t.Any]:
        dataset = require_directory(ctx.upstream_path("dataset"), Message("steps.the_dataset"))
        resume = None if step is None else os.path.join(ctx.work, f"checkpoint-{step}")
        resolved = ctx.spec.options["resolved"]
        name, validation = dataset_name(dataset), ""
        numbers: t.Sequence[int] = ()
        if resolved.get("held_out"):
            dataset, numbers = self._leave_out_rows(ctx, dataset, resolved["held_out"], statistics)
        spelled = os.path.join(scratch(ctx), "spelled")
        rewritten = training_rows.write(
            dataset,
            spelled,
            str(resolved["template"]),
            *tokens,
            tool_format=written_format(resolved.get("tool_format")),
            default_system=(resolved.get("extra") or {}).get("default_system"),
            thinking=str(resolved.get("thinking") or FROM_ROWS),
            numbers=numbers,
        )
        if rewritten is not None:
            _append_log(ctx, rewritten.describe())
            statistics["rewritten"] = rewritten.as_results()
            dataset, name = spelled, dataset_name(spelled)
        statistics.update(self._count_long_rows(ctx, base, dataset, env, numbers))
        if resolved.get("validation_share"):
            rows = os.path.join(scratch(ctx), "rows")
            split = validation_split.split(dataset, rows, resolved["validation_share"])
            statistics.update(train_rows=split.train, validation_rows=split.validation)
            dataset, name, validation = rows, validation_split.TRAIN, validation_split.VALIDATION
        in_32_bits = precision(resolved, _accelerator(ctx)) == "fp32" and resolved["method"] != "qlora"
        settings = llamafactory_train_arguments(
            resolved,
            base=in_float32(base, os.path.join(scratch(ctx), "base")) if in_32_bits else base,
            dataset=name,
            dataset_dir=dataset,
            output_dir=ctx.work,
            accelerator=_accelerator(ctx),
            eval_dataset=validation,
        )
        if "lora_target" in settings:
            settings["lora_target"] = ",".join(named_targets(base, resolved["lora_target"]))
        if ctx.spec.options.get("nodes"):
            settings["save_on_each_node"] = True  # a node resumes from its own disk
        elif not self.image(ctx.toolchain) and _saves_on_sigterm(ctx.toolchain.llamafactory_venv):
            settings["enable_jit_checkpoint"] = True
        settings["resume_from_checkpoint"] = resume
        if resume and checkpoints.stopped_early(checkpoints.read_object(os.path.join(resume, checkpoints.STATE))):
            # killed while it was saving its result: it would train until its next evaluation
            settings["max_steps"] = step
            statistics["stopped_early"] = True
        self._leave_out_warmup(ctx, settings, statistics)
        return settings

    @staticmethod
    def _leave_out_rows(
        ctx: StepContext, dataset: str, share: float, statistics: dict[str, t.Any]
    ) -> tuple[str, t.Sequence[int]]:
        """Copy the dataset without the rows that are held out, and record how many these are.

        :returns: directory of the copy, and the number of each of its rows in the dataset.
        """
        trained = os.path.join(scratch(ctx), "trained")
        written = held_out_rows.write_trained(dataset, trained, share)
        counts = written.counts
        statistics.update(train_rows=counts.trained, held_out_rows=counts.held_out)
        if counts.containing:
            statistics["held_out_containing"] = counts.containing
        _append_log(ctx, f"{counts.held_out} rows are held out (held_out {share:g}); {counts.trained} are left.")
        return trained, written.numbers

    @staticmethod
    def _leave_out_warmup(ctx: StepContext, settings: dict[str, t.Any], statistics: dict[str, t.Any]) -> None:
        """Train without warm-up where it would take too many of the few steps, and record that."""
        resolved, nodes = ctx.spec.options["resolved"], ctx.spec.options.get("nodes")
        hosts = Nodes.from_dict(nodes).count if nodes else 1
        results = ctx.upstream_results("dataset")
        counted = optimizer_steps.count(resolved, results, hosts, statistics.get("train_rows"))
        if counted is not None and optimizer_steps.leaves_out_warmup(resolved, counted.steps):
            settings["warmup_ratio"] = 0.0
            statistics["warmup_left_out"] = resolved["warmup_ratio"]
            _append_log(ctx, f"Of {counted.steps} steps none is taken for a warm-up (warmup_ratio).")

    def progress(self, ctx: StepContext) -> Progress | None:
        return trainer_log.progress(os.path.join(ctx.work, TRAINER_LOG_FILE))

    def stop(self, ctx: StepContext, send: t.Callable[[int], None]) -> float:
        # on SIGTERM transformers waits three seconds, finishes its step, writes a checkpoint and exits with status 0;
        # before the first step, and in versions without this feature, it exits at once and the last checkpoint remains
        send(signal.SIGTERM)
        # a node cannot save a checkpoint alone, because all nodes take part in it
        return _STOP_SECONDS if not ctx.spec.options.get("nodes") else 10.0

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        state = self._complete_state(ctx)
        metrics = checkpoints.read_object(os.path.join(ctx.work, checkpoints.METRICS))
        log = trainer_log.totals(os.path.join(ctx.work, TRAINER_LOG_FILE))
        resolved = ctx.spec.options["resolved"]
        results: dict[str, t.Any] = {
            "stage": resolved.get("stage") or "sft",
            "method": resolved["method"],
            "metrics": _metrics(state, metrics, log),
            "steps": state["global_step"],
            "epochs": round(float(state.get("epoch") or 0.0), 4),
            "total_tokens": state.get("num_input_tokens_seen") or None,
            "trainable_parameters": _trainable_parameters(ctx),
            "loss_plot": LOSS_PLOT_FILE if os.path.exists(os.path.join(ctx.work, LOSS_PLOT_FILE)) else None,
            "resumed_from": _resumed_from(ctx),
            "duration_seconds": max(log.get("seconds", 0.0), round(float(metrics.get("train_runtime") or 0.0), 1)),
            **({"stopped_early": True} if state["global_step"] < state["max_steps"] else {}),
        }
        found = findings(state, resolved)
        if found:
            results["findings"] = [finding.as_dict() for finding in found]
        if _takes_best(ctx):
            self._record_best(ctx, state)
        results.update(read_json(os.path.join(ctx.work, ROWS)) or {})
        if "best_eval_loss" in results:
            results["metrics"]["eval_loss"] = results["best_eval_loss"]
        checkpoints.clean_output(ctx.work)
        checkpoints.normalise_adapter(ctx.work, ctx.upstream_path("base"))
        remove_scratch(ctx)
        for name in list_files(ctx.work):
            # safetensors creates files with mode 0600; the permissions of the directory control the access
            os.chmod(os.path.join(ctx.work, name), 0o644)
        return results

    @staticmethod
    def _record_best(ctx: StepContext, state: t.Mapping[str, t.Any]) -> None:
        """Record which checkpoint the result is, before the checkpoints are deleted.

        :raises JobError: when there is none, in which case the Trainer has left the last weights as they are.
        """
        path = os.path.join(ctx.work, ROWS)
        recorded = read_json(path) or {}
        if "best_step" in recorded:
            return
        best = checkpoints.best(state)
        if best is None or not checkpoints.has_checkpoint(ctx.work, best[0]):
            raise JobError("steps.no_best_checkpoint")
        write_json(path, {**recorded, "best_step": best[0], "best_eval_loss": round(best[1], 6)})

    def _complete_state(self, ctx: StepContext) -> dict[str, t.Any]:
        """Read ``trainer_state.json`` and check that the training is complete.

        :raises JobError: when it is incomplete, or its weights are invalid.
        """
        try:
            state = checkpoints.read_object(os.path.join(ctx.work, checkpoints.STATE))
        except StoreError as error:
            raise JobError("steps.no_result_saved", details={"reason": error.message}) from error
        if not checkpoints.is_complete(state):
            done, total = state.get("global_step"), state.get("max_steps")
            raise JobError(
                "steps.training_stopped",
                current=done,
                total=total,
                details={"current_steps": done, "total_steps": total},
            )
        if not checkpoints.finished(ctx.work):
            raise JobError("steps.result_incomplete")
        for path in _weight_files(ctx.work):
            tensor = first_not_finite(path)
            if tensor:
                raise JobError(
                    "steps.training_diverged", file=os.path.basename(path), tensor=tensor, details={"tensor": tensor}
                )
        adapter = os.path.join(ctx.work, ADAPTER)
        if os.path.exists(adapter):
            _require_trained(adapter, state)
        return state

    def explain(self, log_tail: t.Sequence[str]) -> Message:
        return explain(log_tail)


def dataset_name(directory: str) -> str:
    """Name of the only entry in ``dataset_info.json`` of a dataset artifact.

    :raises NotReadyError: when the file is missing, invalid, or does not have exactly one entry.
    """
    try:
        names = list(checkpoints.read_object(os.path.join(directory, INFO_FILE)))
    except StoreError as error:
        raise NotReadyError("steps.dataset_incomplete", directory=directory, problem=error.content) from error
    if len(names) != 1:
        raise NotReadyError("steps.dataset_entries", directory=directory, count=len(names))
    return names[0]


def explain_restart(ctx: StepContext) -> Message:
    """Describe how an interrupted training of several nodes restarts."""
    if _accelerator(ctx) == "cpu":
        return Message("steps.nodes_restart")
    return Message("steps.nodes_resume")


def resumable_steps(ctx: StepContext) -> list[int]:
    """Steps of the checkpoints that one of several nodes can resume from.

    Empty on a CPU: transformers loads the optimizer's state onto a device that torch does not support there
    (``map_location`` of ``_load_optimizer_and_scheduler``).
    """
    return [] if _accelerator(ctx) == "cpu" else checkpoints.resumable(ctx.work, _takes_best(ctx))


def _extensions_directory(ctx: StepContext, installation: str) -> str:
    """Directory for the extensions that DeepSpeed compiles on first use, for one virtual environment or image.

    Deletes stale locks: a killed build leaves a lock that would block later trainings forever. Trainings on a host run
    one at a time, so a lock that exists before a training starts belongs to no process.

    :param installation: path of the virtual environment, or name of the image.
    """
    path = ctx.layout.path("cache", "torch_extensions", hashlib.sha256(installation.encode()).hexdigest()[:12])
    for lock in glob.glob(os.path.join(glob.escape(path), "*", "lock")):
        os.unlink(lock)
    return path


def _accelerator(ctx: StepContext) -> str:
    return str(ctx.spec.options.get("accelerator") or "cpu")


def _takes_best(ctx: StepContext) -> bool:
    """Whether the result is the best checkpoint instead of the last one."""
    return bool(ctx.spec.options["resolved"].get("best_checkpoint"))


def _saves_on_sigterm(venv: str) -> bool:
    """Whether the installed transformers can save a checkpoint on SIGTERM (``enable_jit_checkpoint``, from 5.0)."""
    pattern = os.path.join(glob.escape(venv), "lib", "python3*", "site-packages", "transformers")
    return bool(glob.glob(os.path.join(pattern, "trainer_jit_checkpoint.py")))


def _append_log(ctx: StepContext, text: str) -> None:
    with open(os.path.join(ctx.job_dir, LOG_FILE), "a", encoding="utf-8") as stream:
        stream.write(text + "\n")


def _weight_files(work: str) -> list[str]:
    adapter, head = (os.path.join(work, name) for name in (ADAPTER, VALUE_HEAD))
    return ([adapter] if os.path.exists(adapter) else model_files(work)) + ([head] if os.path.exists(head) else [])


def mean_loss(state: t.Mapping[str, t.Any]) -> float | None:
    """Mean training loss over all steps, from the history in ``trainer_state.json``; None when nothing was logged.

    The Trainer's own ``train_loss`` is wrong after a resume: it sums over the steps since then but divides by all.
    """
    total, last = 0.0, 0
    for entry in state.get("log_history") or []:
        loss, step = entry.get("loss"), entry.get("step")
        # each entry has the mean over the steps since the previous entry
        if isinstance(loss, (int, float)) and isinstance(step, int) and step > last and math.isfinite(loss):
            total += loss * (step - last)
            last = step
    return total / last if last else None


def _require_trained(adapter: str, state: t.Mapping[str, t.Any]) -> None:
    """Reject an adapter that changes nothing: PEFT starts with matrices B of zeros, and training changes them.

    :param adapter: path of its weights.
    :raises JobError: when it has such matrices, and all of them are zero.
    """
    outputs = [name for name in read_tensors(adapter) if _MATRIX_B.search(name)]
    if outputs and all_zero(adapter, outputs):
        raise JobError("steps.adapter_untrained", steps=state["global_step"], details={"steps": state["global_step"]})


def _metrics(
    state: t.Mapping[str, t.Any], saved: t.Mapping[str, t.Any], log: t.Mapping[str, t.Any]
) -> dict[str, t.Any]:
    metrics = {name: value for name, value in saved.items() if isinstance(value, (int, float)) and math.isfinite(value)}
    mean = mean_loss(state)
    if mean is not None:
        metrics["train_loss"] = round(mean, 6)
    if "eval_loss" not in metrics and "eval_loss" in log:
        metrics["eval_loss"] = log["eval_loss"]
    if "vram_gib" in log:
        metrics["vram_gib"] = log["vram_gib"]
    return metrics


def _trainable_parameters(ctx: StepContext) -> int | None:
    try:
        with open(os.path.join(ctx.job_dir, LOG_FILE), encoding="utf-8", errors="replace") as stream:
            match = _TRAINABLE.search(stream.read(_LOG_HEAD_BYTES))
    except OSError:
        match = None
    if match:
        return int(match.group(1).replace(",", ""))
    adapter = os.path.join(ctx.work, ADAPTER)
    return sum(tensor.elements for tensor in read_tensors(adapter).values()) if os.path.exists(adapter) else None


def _resumed_from(ctx: StepContext) -> int | None:
    """Step of the checkpoint that this job resumed from, from its configuration; None when it started from the base."""
    try:
        with open(os.path.join(ctx.job_dir, CONFIG), encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _colon, value = line.partition(": ")
        if key == "resume_from_checkpoint":
            return int(json.loads(value).rpartition("-")[2])
    return None
