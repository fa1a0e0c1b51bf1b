# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the installed LLaMA-Factory and the base model about a declaration, before its training is in the queue.

LLaMA-Factory refuses some combinations of arguments, and PEFT refuses names of modules that a base does not have, only
after the imports or after the weights were loaded; names beside a right one are ignored without a word. The question
takes as long as the imports, several seconds. So it is asked only if something is declared that this program does not
check itself, and its answer is kept for the declaration, the base and the installed tools.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import typing as t

from ..artifacts.layout import Layout
from ..errors import CoreError, InputError
from ..fingerprint import digest
from ..json_text import parse_json
from ..messages.message import Message
from ..programs import check_training
from ..runs.spec import Toolchain
from ..system.docker import DockerEngine
from ..system.environment import clean_environment
from ..system.files import make_dirs, read_json, write_json
from .hyperparameters import llamafactory_train_arguments

_SECONDS = 300
#: Arguments whose check needs the GPU, or the processes that the training has.
_OF_THE_DEVICE = (
    "bf16", "fp16", "pure_bf16", "tf32", "fp8", "fp8_backend", "fp8_enable_fsdp_float8_all_gather", "deepspeed",
    "fsdp", "fsdp_config", "use_unsloth", "use_unsloth_gc", "use_kt", "enable_liger_kernel", "torch_compile",
    "ddp_timeout", "parallelism_config", "trust_remote_code",
)  # fmt: skip
#: Arguments with names of modules that are trained as a whole.
_SAVED = ("additional_target",)
#: What LLaMA-Factory says → the code of what to do.
_REFUSALS = (
    (re.compile(r"eval_dataset be provided|requires an evaluation|evaluation strategy", re.IGNORECASE),
     "training.validation_needed"),
    (re.compile(r"(?:PackageNotFoundError|requires|To fix: run `pip install) *(\S*)"), "training.package_needed"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Question:
    """What is asked.

    :param arguments: LLaMA-Factory's; empty if its parser is not asked.
    :param targets: names of modules that get an adapter.
    :param saved: names of modules that are trained as a whole.
    :param base: directory of the base model; empty if it is not asked.
    """

    arguments: dict[str, t.Any]
    targets: list[str]
    saved: list[str]
    base: str

    def as_json(self) -> str:
        """The argument of the program."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def check(
    layout: Layout, resolved: t.Mapping[str, t.Any], base: str, base_fingerprint: str, tools: Toolchain, write: bool
) -> Message | None:
    """Check a declaration with LLaMA-Factory's parser and the modules of the base.

    :param resolved: resolved hyperparameters, with ``template``.
    :param base: directory of the base model; empty if it is not on this host yet.
    :param write: whether the answer may be kept.
    :returns: a warning if something could not be asked.
    :raises InputError: if LLaMA-Factory refuses the arguments, or the base has no such module.
    """
    question = _question(resolved, base)
    if not question.arguments and not question.targets and not question.saved:
        return None
    names = [*question.targets, *question.saved]
    warning = Message("training.modules_not_checked", names=names) if names and not base else None
    if warning is not None:
        question = dataclasses.replace(question, targets=[], saved=[])
        if not question.arguments:
            return warning
    answer = _answer(layout, question, base_fingerprint, tools, write)
    if answer is None:
        return Message("training.not_checked", names=sorted({*(resolved.get("extra") or {}), *names}))
    extra = sorted(name for name in resolved.get("extra") or {} if name not in _OF_THE_DEVICE)
    if answer["refused"]:
        raise InputError("training.refused", reason=answer["refused"], advice=_advice(answer["refused"], extra))
    if answer["missing"]:
        raise InputError("training.modules_missing", names=answer["missing"], modules=answer["modules"])
    return warning


def _question(resolved: t.Mapping[str, t.Any], base: str) -> _Question:
    extra = {name: value for name, value in (resolved.get("extra") or {}).items() if name not in _OF_THE_DEVICE}
    arguments: dict[str, t.Any] = {}
    if extra:
        # the CPU has no lower precision to check, and no quantization
        values = {**resolved, "precision": "fp32", "extra": extra}
        evaluated = "checked" if resolved.get("validation_share") else ""
        arguments = llamafactory_train_arguments(
            values, base or "/base", "checked", "/dataset", "/nonexistent/output", "cuda", evaluated
        )
        arguments["use_cpu"] = True
    targets = [name for name in resolved.get("lora_target") or [] if name != "all"]
    saved = [each.strip() for name in _SAVED for each in str(extra.get(name) or "").split(",") if each.strip()]
    if (resolved.get("extra") or {}).get("trust_remote_code"):
        targets, saved = [], []  # the names are in code that runs in a training alone
    return _Question(arguments, targets, saved, base if targets or saved else "")


def _advice(refused: str, extra: t.Sequence[str]) -> Message:
    for pattern, code in _REFUSALS:
        if pattern.search(refused):
            return Message(code, names=list(extra))
    return Message("training.change_extra", names=list(extra))


def _answer(layout: Layout, question: _Question, base: str, tools: Toolchain, write: bool) -> dict[str, t.Any] | None:
    """The answer of the program; None if it cannot be asked here, or does not end well."""
    source = _source()
    try:
        identity = _identity(tools)
    except (CoreError, OSError):
        return None
    # the directory of the base may move, its content may not
    asked = dataclasses.replace(question, base="", arguments={**question.arguments, "model_name_or_path": ""})
    key = digest({"question": asked.as_json(), "base": base, "tools": identity, "program": source})
    path = layout.path("cache", "training_checks", f"{key[:32]}.json")
    known = read_json(path)
    if isinstance(known, dict) and {"refused", "missing", "modules"} <= set(known):
        return known
    answer = _parse(_ask(question, tools, source))
    if answer is not None and write:
        make_dirs(os.path.dirname(path))
        write_json(path, answer)
    return answer


def _source() -> str:
    loader: t.Any = getattr(check_training.__spec__, "loader", None)
    return str(loader.get_source(check_training.__name__))


def _identity(tools: Toolchain) -> str:
    """Names the installed tools: another version has another answer.

    :raises OSError: if they are not installed.
    """
    if tools.llamafactory_image:
        image = DockerEngine(tools.docker_host).image(tools.llamafactory_image)
        if image is None:
            raise FileNotFoundError(tools.llamafactory_image)
        return str(image["Id"])
    venv = tools.llamafactory_venv
    os.stat(os.path.join(venv, "bin", "python"))
    found = sorted(os.path.join(venv, "lib", name, "site-packages") for name in os.listdir(os.path.join(venv, "lib")))
    return json.dumps([venv, [os.stat(path).st_mtime_ns for path in found]])


def _ask(question: _Question, tools: Toolchain, source: str) -> bytes:
    environment = {
        "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        "DISABLE_VERSION_CHECK": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    try:
        if tools.llamafactory_image:
            assigned = " ".join(f"{name}={value}" for name, value in environment.items())
            script = f'PATH=${{0:+$0:}}$PATH exec env {assigned} python3 -I -c "$1" "$2"'
            argv = ["/bin/sh", "-c", script, tools.image_path, source, question.as_json()]
            reads = [*tools.mounts, *([question.base] if question.base else [])]
            return DockerEngine(tools.docker_host).output(tools.llamafactory_image, argv, reads)
        process = subprocess.run(
            [os.path.join(tools.llamafactory_venv, "bin", "python"), "-I", "-c", source, question.as_json()],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False, cwd="/",
            env={**clean_environment(), **environment},
        )  # fmt: skip
        return process.stdout
    except (OSError, subprocess.TimeoutExpired, CoreError):
        return b""


def _parse(output: bytes) -> dict[str, t.Any] | None:
    lines = output.decode("utf-8", "replace").splitlines()
    last = next((line for line in reversed(lines) if line.startswith(check_training.MARK)), "")
    try:
        answer = parse_json(last[len(check_training.MARK) :])
        return {
            "refused": str(answer["refused"]),
            "missing": [str(name) for name in answer["missing"]],
            "modules": [str(name) for name in answer["modules"]],
        }
    except (ValueError, KeyError, TypeError):
        return None
