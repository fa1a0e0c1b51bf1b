# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LLaMA-Factory trains on exactly the published dataset: every row, every turn, and nothing else.

Needs ``IA_LF_VENV`` (LLaMA-Factory) and fails where it is missing. The published versions are loaded by
LLaMA-Factory's own loader in one process; each test looks at one of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.output_formats import PIECE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import (
    Declaration,
    apply,
    load,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source

DEFAULT_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SYSTEM = "Tu es un assistant homelab spécialisé."
AWKWARD = 'Guillemets "droits", \\ barre, tabulation \t, fin\nde ligne, \u2028, \x7f, é, 𝄞, <|autre|>'
CALL = {"name": "request_media", "arguments": {"titre": "Chihiro", "année": 2001}}
TOOL = {
    "name": "request_media",
    "description": "Demande un film.",
    "parameters": {"type": "object", "properties": {"titre": {"type": "string"}}, "required": ["titre"]},
}
#: Slightly more than one block of the file, so that column types are inferred more than once.
MANY = PIECE // 1000 + 300


def chat(*turns: tuple[str, str], system: str = "") -> str:
    """A conversation as LLaMA-Factory's template qwen renders it, with its default system prompt if there is none."""
    lines = [f"<|im_start|>system\n{system or DEFAULT_SYSTEM}<|im_end|>\n"]
    return "".join(lines + [f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns])


def asked(question: str, answer: str, system: str = "") -> str:
    """A conversation of one question and its answer."""
    return chat(("user", question), ("assistant", answer), system=system)


#: By label: the rows, and the expected text of each sample. Large cases repeat rows.
CASES: dict[str, tuple[list[dict[str, t.Any]], list[str]]] = {
    "alpaca": (
        [
            {"instruction": "Qui es-tu ?", "input": "", "output": "L'assistant.", "system": SYSTEM},
            {"instruction": "Traduis.", "input": "bonjour", "output": "hello"},
            {"instruction": AWKWARD, "output": AWKWARD, "system": AWKWARD},
            {"instruction": "", "input": "seul", "output": "oui", "system": None},
        ],
        [
            asked("Qui es-tu ?", "L'assistant.", SYSTEM),
            asked("Traduis.\nbonjour", "hello"),
            asked(AWKWARD, AWKWARD, AWKWARD),
            asked("seul", "oui"),
        ],
    ),
    "alpaca with history": (
        [
            {"instruction": "Salut", "output": "Bonjour.", "history": []},
            {
                "instruction": "Et Radarr ?",
                "input": "vite",
                "output": "Aussi.",
                "system": SYSTEM,
                "history": [["Sonarr va bien ?", "Oui."], ["Sûr ?", "Certain."]],
            },
        ],
        [
            asked("Salut", "Bonjour."),
            chat(
                ("user", "Sonarr va bien ?"),
                ("assistant", "Oui."),
                ("user", "Sûr ?"),
                ("assistant", "Certain."),
                ("user", "Et Radarr ?\nvite"),
                ("assistant", "Aussi."),
                system=SYSTEM,
            ),
        ],
    ),
    "dates only": (
        [
            {"instruction": "Quel jour ?", "input": "2024-01-01", "output": "2024-01-02"},
            {"instruction": "Quel jour ?", "input": "2024-02-01", "output": "2024-02-02 10:00:00"},
        ],
        [
            asked("Quel jour ?\n2024-01-01", "2024-01-02"),
            asked("Quel jour ?\n2024-02-01", "2024-02-02 10:00:00"),
        ],
    ),
    "sharegpt": (
        [
            {
                "conversations": [
                    {"from": "system", "value": SYSTEM},
                    {"from": "human", "value": "Un film ?"},
                    {"from": "gpt", "value": "Lequel ?"},
                    {"from": "human", "value": AWKWARD},
                    {"from": "gpt", "value": AWKWARD},
                ]
            },
            {
                "conversations": [{"from": "human", "value": "Oui ?"}, {"from": "gpt", "value": "Non."}],
                "system": "Bref.",
            },
        ],
        [
            chat(
                ("user", "Un film ?"),
                ("assistant", "Lequel ?"),
                ("user", AWKWARD),
                ("assistant", AWKWARD),
                system=SYSTEM,
            ),
            asked("Oui ?", "Non.", "Bref."),
        ],
    ),
    "openai": (
        [
            {"messages": [{"role": "user", "content": "Oui ?"}, {"role": "assistant", "content": "Non."}]},
            {
                "messages": [
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": AWKWARD},
                    {"role": "assistant", "content": AWKWARD},
                ]
            },
        ],
        [asked("Oui ?", "Non."), asked(AWKWARD, AWKWARD, SYSTEM)],
    ),
    "a history only after the first piece": (
        [{"instruction": "q" * 900, "output": "r" * 100}] * MANY
        + [{"instruction": "Et ?", "output": "Voilà.", "history": [["a", "b"]]}],
        [asked("q" * 900, "r" * 100)] * MANY
        + [chat(("user", "a"), ("assistant", "b"), ("user", "Et ?"), ("assistant", "Voilà."))],
    ),
    "dates only in the last piece": (
        [{"instruction": "q" * 900, "output": "r" * 100}] * MANY + [{"instruction": "q", "output": "2024-01-01"}] * 300,
        [asked("q" * 900, "r" * 100)] * MANY + [asked("q", "2024-01-01")] * 300,
    ),
}

TOOLS = "tools"
OPENAI_TOOLS = "tools of openai"


def tool_rows() -> dict[str, list[dict[str, t.Any]]]:
    """The same conversation with a tool in the formats sharegpt and OpenAI, and one without tools."""
    call = json.dumps(CALL, ensure_ascii=False)
    openai_call = {
        "id": "1",
        "type": "function",
        "function": {"name": CALL["name"], "arguments": json.dumps(CALL["arguments"], ensure_ascii=False)},
    }
    turns = [("human", "Chihiro ?"), ("function_call", call), ("observation", "demandé"), ("gpt", "C'est fait.")]
    return {
        TOOLS: [
            {"conversations": [{"from": "human", "value": "Oui ?"}, {"from": "gpt", "value": "Non."}]},
            {
                "conversations": [{"from": role, "value": text} for role, text in turns],
                "tools": json.dumps([TOOL], ensure_ascii=False),
            },
        ],
        OPENAI_TOOLS: [
            {"messages": [{"role": "user", "content": "Oui ?"}, {"role": "assistant", "content": "Non."}]},
            {
                "messages": [
                    {"role": "user", "content": "Chihiro ?"},
                    {"role": "assistant", "content": None, "tool_calls": [openai_call]},
                    {"role": "tool", "tool_call_id": "1", "content": "demandé"},
                    {"role": "assistant", "content": "C'est fait."},
                ],
                "tools": [TOOL],
            },
        ],
    }


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """The samples that LLaMA-Factory reads for every case, from the version's directory and by the dataset's name."""
    work = tmp_path_factory.mktemp("read")
    layout = Layout(str(tmp_path_factory.mktemp("data")))
    places = {}
    for label, rows in {**{label: rows for label, (rows, _texts) in CASES.items()}, **tool_rows()}.items():
        name = label.replace(" ", "-")
        apply(layout, Declaration(name), [Source("records", records=rows)])
        found = load(layout, name)
        assert found.rows == len(rows)
        places[label] = {"dir": found.path, "name": found.entry}
    places["by name"] = {"dir": layout.datasets, "name": "alpaca"}
    done = subprocess.run(
        [os.path.join(os.environ["IA_LF_VENV"], "bin", "python"), str(Path(__file__).with_name("dataset_reader.py"))],
        input=json.dumps({"work": str(work), "datasets": places}),
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(work),
            "HF_HOME": str(work / "cache"),
            "HF_HUB_OFFLINE": "1",
            "DISABLE_VERSION_CHECK": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, list[dict[str, str]]] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("label", CASES)
def test_every_row_is_used_unchanged(label: str, trained_on: dict[str, list[dict[str, str]]]) -> None:
    rows, texts = CASES[label]
    read = [sample["text"] for sample in trained_on[label]]
    assert len(read) == len(rows)
    wrong = [number for number, (got, wanted) in enumerate(zip(read, texts), 1) if got != wanted]
    assert not wrong, (wrong[:10], read[wrong[0] - 1], texts[wrong[0] - 1])


def test_loss_is_computed_on_answers_only(trained_on: dict[str, list[dict[str, str]]]) -> None:
    assert [sample["learned"] for sample in trained_on["alpaca"]] == [
        f"{row['output']}<|im_end|>\n" for row in CASES["alpaca"][0]
    ]


def test_dataset_by_name_has_the_same_rows(trained_on: dict[str, list[dict[str, str]]]) -> None:
    """The entry in the common dataset_info.json, which the WebUI uses, refers to the same rows."""
    assert trained_on["by name"] == trained_on["alpaca"]


@pytest.mark.parametrize("label", [TOOLS, OPENAI_TOOLS])
def test_tools_and_calls_are_complete(label: str, trained_on: dict[str, list[dict[str, str]]]) -> None:
    """The template renders tools and calls in its own way; this test checks that they are complete."""
    plain, called = (sample["text"] for sample in trained_on[label])
    assert plain == asked("Oui ?", "Non.")
    assert '"name": "request_media", "description": "Demande un film."' in called
    assert '<tool_call>\n{"name": "request_media", "arguments": {"titre": "Chihiro", "année": 2001}}' in called
    assert "<tool_response>\ndemandé\n</tool_response>" in called
    assert called.endswith("<|im_start|>assistant\nC'est fait.<|im_end|>\n")


def test_tools_are_equal_in_both_formats(trained_on: dict[str, list[dict[str, str]]]) -> None:
    assert trained_on[TOOLS] == trained_on[OPENAI_TOOLS]
