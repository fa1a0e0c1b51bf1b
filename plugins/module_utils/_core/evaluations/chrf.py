# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""chrF of texts and their references, computed by sacrebleu in the converter's environment (``programs.chrf``).

Where the tools run in containers there is no such environment on the host. Texts are then measured by ``exact`` and
``same`` alone.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import tempfile
import typing as t

from ..errors import NotReadyError
from ..json_text import parse_json
from ..messages.message import Message
from ..programs import chrf
from ..runs.spec import Toolchain
from ..system.environment import clean_environment
from .items import Item
from .requirements import Requirements
from .scores import answer_of, text_pair

#: Seconds for one model: 2 000 answers of 1 000 tokens take less than one minute.
_SECONDS = 1800


@dataclasses.dataclass(frozen=True)
class Texts:
    """chrF of the answers of one model.

    :param scores: by question, 0 to 100.
    :param corpus: of all answers together, 0 to 100; None without answers.
    :param signature: sacrebleu's description of the measure, with its version.
    """

    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    corpus: float | None = None
    signature: str = ""


def unavailable(toolchain: Toolchain) -> Message | None:
    """Why texts cannot be measured by chrF on this host; None if they can."""
    if toolchain.llama_cpp_image and not toolchain.converter_venv:
        return Message("evaluations.chrf_in_container", image=toolchain.llama_cpp_image)
    found = glob.glob(
        os.path.join(
            glob.escape(toolchain.converter_venv or "/nonexistent"), "lib*", "python3*", "site-packages", "sacrebleu"
        )
    )
    return None if found else Message("evaluations.chrf_not_installed", path=toolchain.converter_venv)


def refusal(toolchain: Toolchain, required: Requirements) -> Message | None:
    """Why a required chrF cannot be measured on this host, and what to do; None if it is not required, or can be."""
    reason = unavailable(toolchain) if "text" in required.least else None
    return None if reason is None else Message("evaluations.chrf_required", reason=reason)


def of_answers(
    python: str,
    items: t.Iterable[Item],
    answers: t.Mapping[str, t.Mapping[str, t.Any]],
    scratch: str,
) -> Texts:
    """chrF of the answers of one model to the items that are measured by it.

    Neither questions nor answers are kept in memory.

    :param python: interpreter of the converter's environment.
    :param answers: the model's lines of ``answers.jsonl`` by question; each is read once.
    :param scratch: existing directory for temporary files.
    :raises NotReadyError: if the program cannot run, or fails.
    """
    ids: list[str] = []

    def pairs() -> t.Iterator[tuple[str, str]]:
        for item in items:
            line = answers.get(item.id)
            pair = None if line is None else text_pair(item, answer_of(line))
            if pair is not None:
                ids.append(item.id)
                yield pair

    scores, corpus, signature = of_pairs(python, pairs(), scratch)
    return Texts(dict(zip(ids, scores)), corpus, signature)


def of_pairs(python: str, pairs: t.Iterable[tuple[str, str]], scratch: str) -> tuple[list[float], float | None, str]:
    """chrF of pairs of an answer and its reference, that of all pairs together, and sacrebleu's signature.

    :param python: interpreter of the converter's environment; :param scratch: existing directory for temporary files.
    :raises NotReadyError: if the program cannot run, or fails.
    """
    count = 0
    with tempfile.TemporaryFile(dir=scratch) as asked, tempfile.TemporaryFile(dir=scratch) as told:
        for pair in pairs:
            asked.write(json.dumps(pair).encode("ascii") + b"\n")
            count += 1
        if not count:
            return [], None, ""
        asked.seek(0)
        loader: t.Any = getattr(chrf.__spec__, "loader", None)
        # with -c, because the core may be in memory and not in files
        argv = [python, "-I", "-c", loader.get_source(chrf.__name__)]
        try:
            completed = subprocess.run(
                argv,
                stdin=asked,
                stdout=told,
                stderr=subprocess.PIPE,
                timeout=_SECONDS,
                env=clean_environment(),
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NotReadyError("evaluations.chrf_failed", python=python, reason=str(error)) from error
        if completed.returncode:
            lines = completed.stderr.decode("utf-8", "replace").strip().splitlines()
            reason = lines[-1][-300:] if lines else f"status {completed.returncode}"
            raise NotReadyError("evaluations.chrf_failed", python=python, reason=reason)
        told.seek(0)
        found = [parse_json(line) for line in told]
    if len(found) != count + 1:
        raise NotReadyError(
            "evaluations.chrf_failed",
            python=python,
            reason=Message("evaluations.lines_for_pairs", lines=len(found), pairs=count),
        )
    return [float(score) for score in found[:-1]], float(found[-1]["corpus"]), str(found[-1]["signature"])
