# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table at the end of an apply."""

from __future__ import annotations

import typing as t

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils._result_table import result_lines

URL = "http://127.0.0.1:11434"
FINDING = Message("runs.dismiss_active", run="r").as_dict()


def result(**more: t.Any) -> dict[str, t.Any]:
    served = {"name": "m", "version": "m:abc-q4_K_M", "alias": "m:latest", "path": "", "findings": []}
    return {**served, "loss_first": 2.613, "loss_last": 0.84, "seconds": 612.0, **more}


def test_served_model_with_how_to_ask_it() -> None:
    assert result_lines([result()], URL, "http://127.0.0.1:8000") == [
        "MODEL  VERSION     LOSS          FINDINGS  TIME",
        "m      abc-q4_K_M  2.613 → 0.84  none      0:10:12",
        f"Ask it, on the host: OLLAMA_HOST={URL} ollama run m:latest",
        "The page: http://127.0.0.1:8000",
    ]


def test_another_program_asks_it_or_none() -> None:
    assert result_lines([result()], URL, ollama_program="/opt/ollama")[-1].endswith(f"={URL} /opt/ollama run m:latest")
    assert not [line for line in result_lines([result()], URL, ollama_program="") if "Ask it" in line]


def test_export_with_its_place() -> None:
    export = result(version="", alias="", path="/data/models/gguf/1", loss_first=None, loss_last=None)
    found = result_lines([export], URL)
    assert found[1].split() == ["m", "-", "-", "none", "0:10:12"]
    assert found[2:] == ["m is in /data/models/gguf/1 on the host."]


def test_findings_are_explained_where_nothing_warned_of_them() -> None:
    found = result_lines([result(findings=[FINDING])], URL)
    assert " 1 " in found[1] and found[2].startswith("m: The run r has not ended.")
    short = result_lines([result(findings=[FINDING])], URL, explained=False)
    assert short == [found[0], found[1], found[3]]


def test_an_evaluation_has_a_line() -> None:
    found = result_lines([result(evaluation="calls 48/50, text 71.2"), result(evaluation="")], URL)
    assert found[3] == "m: calls 48/50, text 71.2" and found[4].startswith("Ask it")


def test_nothing_declared() -> None:
    assert result_lines([], URL) == ["No fine-tune of this host: none is declared for it, or other hosts make them."]
