# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probes of a training: short conversations that LLaMA-Factory itself renders and tokenizes.

A training renders them in its own process, where LLaMA-Factory is loaded already, and keeps them in ``probes.json`` of
its artifact. For a training without them (made by 0.1.0), :func:`probes_of` renders them in LLaMA-Factory's
environment with the tokenizer of the base. A registration compares the prompts of the server with them.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import typing as t

from ..artifacts.integrity import artifact_path
from ..artifacts.layout import PROBES_FILE
from ..base_models.model_files import special_tokens
from ..chat_formats.house_format import TEMPLATE, written_format
from ..chat_formats.probes import probes_for
from ..chat_formats.text_arguments import TEXT_ARGUMENTS
from ..chat_formats.thinking import keeps_prompt_open
from ..errors import CoreError, NotReadyError
from ..fingerprint import digest
from ..json_text import parse_json
from ..messages.message import Message
from ..programs.llamafactory_cli import PROBES_REQUEST
from ..releases import lineage
from ..runs.job_context import StepContext
from ..system.clock import parse_utc
from ..system.environment import clean_environment
from ..system.files import make_dirs, read_json, write_json
from .tool_environment import PROGRAMS

#: LLaMA-Factory's arguments that ``programs/render_probes.py`` reads.
_ARGUMENTS = tuple(name for name, argument in TEXT_ARGUMENTS.items() if argument.in_probes)
_PROGRAM = os.path.join(PROGRAMS, "render_probes.py")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: Seconds that rendering may take; importing LLaMA-Factory takes some on a slow disk.
_SECONDS = 300


@dataclasses.dataclass(frozen=True)
class Probes:
    """Probes as they were rendered in training.

    :param template: name of the chat template.
    :param enable_thinking: LLaMA-Factory's argument of that name.
    :param tool_format: how the training wrote tools and calls.
    :param rendered: by name of the probe: ``text`` and ``ids``; or ``error``, if LLaMA-Factory cannot render it.
    :param reason: why there are none; None if there are.
    """

    template: str
    enable_thinking: bool = True
    tool_format: str = TEMPLATE
    rendered: t.Mapping[str, t.Mapping[str, t.Any]] = dataclasses.field(default_factory=dict)
    reason: Message | None = None


def request(resolved: t.Mapping[str, t.Any], tokenizer: str, eos: str, bos: str) -> dict[str, t.Any]:
    """Return what ``programs/render_probes.py`` reads.

    :param resolved: all hyperparameters of the training.
    :param tokenizer: directory of the base model.
    :param eos: text of the EOS token of the base model; :param bos: text of its BOS token.
    :raises InputError: if the chat template is unknown.
    """
    template = str(resolved["template"])
    extra = resolved.get("extra") or {}
    tool_format, default_system = written_format(resolved.get("tool_format")), extra.get("default_system")
    return {
        "template": template,
        "tool_format": tool_format,
        "tokenizer": tokenizer,
        "arguments": {
            **({} if keeps_prompt_open(resolved) else {"enable_thinking": False}),
            **{name: extra[name] for name in _ARGUMENTS if extra.get(name) is not None},
        },
        "probes": [
            probe.training_form(template, eos, bos, tool_format, default_system)
            for probe in probes_for(template, enable_thinking=keeps_prompt_open(resolved), tool_format=tool_format)
        ],
    }


def prepare(
    ctx: StepContext, resolved: t.Mapping[str, t.Any], base: str, eos: str = "", bos: str = ""
) -> dict[str, str]:
    """Ask the training of this job to render the probes; returns the variables of its environment for that.

    Without effect if an earlier attempt has rendered them.

    :param base: directory of the base model.
    :param eos: text of the EOS token of the base model; :param bos: text of its BOS token.
    """
    output = os.path.join(ctx.work, PROBES_FILE)
    if os.path.exists(output):
        return {}
    path = os.path.join(ctx.job_dir, "probes_request.json")
    try:
        write_json(path, {**request(resolved, base, eos, bos), "output": output})
    except CoreError:
        return {}  # a template that cannot be served, of a training that is not registered
    return {PROBES_REQUEST: path}


@dataclasses.dataclass(frozen=True)
class Training:
    """The training behind a registration.

    :param fingerprint: its fingerprint.
    :param resolved: all its hyperparameters.
    :param started_at: when it began, as in its receipt.
    :param recorded: its probes as it rendered them; empty if it rendered none.
    :param base: fingerprint of its base model; empty if it is unknown.
    """

    fingerprint: str
    resolved: dict[str, t.Any]
    started_at: str
    recorded: dict[str, t.Any]
    base: str

    @property
    def default_system(self) -> str | None:
        """LLaMA-Factory's argument of that name; None if it was not given."""
        value = (self.resolved.get("extra") or {}).get("default_system")
        return None if value is None else str(value)

    @property
    def day(self) -> str:
        """The day in its descriptions of tools (template llama3), such as ``05 Mar 2026``; empty if it is unknown.

        LLaMA-Factory takes it from the clock of the host, in English, when the training begins.
        """
        if self.recorded.get("date"):
            return str(self.recorded["date"])
        try:
            day = datetime.datetime.fromtimestamp(parse_utc(self.started_at))
        except ValueError:
            return ""
        return f"{day.day:02d} {_MONTHS[day.month - 1]} {day.year}"


def training_of(ctx: StepContext) -> Training | None:
    """Return the training behind a registration; None if its receipt is missing.

    :param ctx: context of the registration.
    """
    receipts = lineage.ancestry(ctx.layout, {**ctx.spec.as_dict(), "kind": ctx.spec.kind})
    training = receipts.get("train")
    if training is None:
        return None
    fingerprint = str(training["fingerprint"])
    recorded = read_json(os.path.join(ctx.layout.artifact("train", fingerprint), PROBES_FILE)) or {}
    return Training(
        fingerprint=fingerprint,
        resolved=dict((training.get("options") or {}).get("resolved") or {}),
        started_at=str(training.get("started_at") or ""),
        recorded=recorded if isinstance(recorded, dict) else {},
        base=str((training.get("upstream") or {}).get("base") or ""),
    )


def probes_of(ctx: StepContext) -> Probes:
    """Return the probes of the training behind a registration, rendered here if the training did not.

    :param ctx: context of the registration.
    """
    training = training_of(ctx)
    thinking = keeps_prompt_open(training.resolved if training else {})
    tool_format = str(ctx.spec.settings.get("tool_format") or TEMPLATE)
    found = Probes(str(ctx.spec.settings["template"]), thinking, tool_format)
    if training is None:
        return dataclasses.replace(found, reason=Message("steps.training_receipt_missing"))
    recorded = (training.recorded.get("template"), written_format(training.recorded.get("tool_format")))
    if training.recorded.get("probes") and recorded == (found.template, found.tool_format):
        return dataclasses.replace(found, rendered=training.recorded["probes"])
    resolved = {**training.resolved, "template": found.template, "tool_format": tool_format}
    try:
        base = artifact_path(ctx.layout, "base", training.base)
        wanted = request(resolved, base, *special_tokens(base))
        # importing LLaMA-Factory takes seconds, and several registrations of a training need the same
        cached = ctx.layout.path("cache", "probes", f"{training.fingerprint}-{digest(wanted)[:12]}.json")
        result = read_json(cached)
        if result is None:
            result = _render(ctx, wanted)
            make_dirs(os.path.dirname(cached))
            write_json(cached, result)
    except (CoreError, KeyError, OSError, ValueError, subprocess.SubprocessError) as error:
        problem = error.content if isinstance(error, CoreError) else str(error)
        return dataclasses.replace(found, reason=Message("steps.probes_not_rendered", reason=problem))
    # descriptions of tools contain the day of the training, and were rendered with today
    rendered = {
        name: {**each, "text": each["text"].replace(result["date"], training.day)} if "text" in each else each
        for name, each in result["probes"].items()
    }
    return dataclasses.replace(found, rendered=rendered)


def _render(ctx: StepContext, wanted: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    venv = ctx.toolchain.llamafactory_venv
    if not venv:
        raise NotReadyError("steps.llamafactory_in_image")
    env = {**clean_environment(), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1"}
    env.update(TOKENIZERS_PARALLELISM="false", PYTHONDONTWRITEBYTECODE="1", HF_HOME=ctx.layout.cache)
    completed = subprocess.run(
        [os.path.join(venv, "bin", "python"), _PROGRAM],
        input=json.dumps(wanted).encode("ascii"),
        capture_output=True,
        timeout=_SECONDS,
        env=env,
        check=False,
    )
    if completed.returncode:
        raise ValueError(completed.stderr.decode("utf-8", "replace").strip()[-300:] or f"status {completed.returncode}")
    rendered: dict[str, t.Any] = parse_json(completed.stdout)
    return rendered
