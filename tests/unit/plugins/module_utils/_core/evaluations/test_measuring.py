# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""chrF and verdicts for the answers of an evaluation, kept over a kill, and taken over by a renewed evaluation."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError, RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import chrf
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.items import Item
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.judge import Judge
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.measuring import (
    VERDICTS_FILE,
    Measuring,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.report import (
    Facts,
    Model,
    build,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.requirements import Requirements
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama

ASKED = ({"role": "user", "content": "Why?"},)
TEXTS = [Item(str(number), "held_out", ASKED, reference={"content": f"right {number}"}) for number in range(5)]
OTHERS = [Item("json", "held_out", ASKED, reference={"content": "{}"}), Item("g", "guard", ASKED)]
JUDGE = Judge("judge:latest")


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models = {"judge:latest": "1" * 64}
        server.reply = lambda _model, prompt: json.dumps(
            {"verdict": "first" if "right" in prompt.partition("[First answer]\n")[2][:5] else "second"}
        )
        yield server


def lines(text: str, digest: str) -> dict[str, dict[str, t.Any]]:
    return {
        item.id: {"digest": digest, "answer": {"text": f"{text} {item.id}", "ended": True}, "scores": {}}
        for item in [*TEXTS, *OTHERS]
    }


ANSWERS = {"q4": lines("right", "4" * 64), "served": lines("wrong", "5" * 64)}


def items() -> t.Iterable[Item]:
    return iter([*TEXTS, *OTHERS])


def asked(server: FakeOllama) -> int:
    return len(server.bodies("/api/chat"))


def test_texts_are_measured_where_it_is_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib" / "python3.11" / "site-packages" / "sacrebleu").mkdir(parents=True)
    seen = []

    def of_pairs(python: str, pairs: t.Iterable[tuple[str, str]], scratch: str) -> tuple[list[float], float, str]:
        seen.append((python, scratch))
        found = [100.0 * (one == other) for one, other in pairs]
        return found, sum(found) / 5, "signature"

    monkeypatch.setattr(chrf, "of_pairs", of_pairs)
    found = Measuring(Toolchain(converter_venv=str(tmp_path)), str(tmp_path))(items, ANSWERS)
    assert found == {
        "texts": {"q4": {item.id: 100.0 for item in TEXTS}, "served": {item.id: 0.0 for item in TEXTS}},
        "corpora": {"q4": 100.0, "served": 0.0},
        "notes": [],
    }
    assert seen == [(f"{tmp_path}/bin/python", str(tmp_path))] * 2


def test_without_the_environment_a_note_says_so(tmp_path: Path) -> None:
    found = Measuring(Toolchain(), str(tmp_path))(items, ANSWERS)
    assert [note.code for note in found.pop("notes")] == ["evaluations.chrf_not_installed"] and not found
    assert Measuring(Toolchain(), str(tmp_path))(lambda: OTHERS, ANSWERS) == {"notes": []}, "there are no texts"


def test_a_judge_is_asked_once(server: FakeOllama, tmp_path: Path) -> None:
    counted: list[int] = []
    measuring = Measuring(Toolchain(), str(tmp_path), Ollama(server.url), JUDGE, counted.append)
    found = measuring(items, ANSWERS)
    (pair,) = found["judge"]["pairs"]
    assert (pair["model"], pair["against"], pair["wins"], pair["asked"]) == ("q4", "served", 5, 5)
    assert found["judge"]["digest"] == "1" * 64
    assert counted == [1, 2, 3, 4, 5] and asked(server) == 10
    assert measuring(items, ANSWERS) == found and asked(server) == 10


def test_after_a_kill_only_the_pair_in_flight_is_judged_again(server: FakeOllama, tmp_path: Path) -> None:
    measuring = Measuring(Toolchain(), str(tmp_path), Ollama(server.url), JUDGE)
    found = measuring(items, ANSWERS)
    path = tmp_path / VERDICTS_FILE
    path.write_bytes(path.read_bytes()[:-9])
    server.requests.clear()
    assert measuring(items, ANSWERS) == found and asked(server) == 2


def test_a_renewed_evaluation_takes_verdicts_over(server: FakeOllama, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    ollama = Ollama(server.url)
    Measuring(Toolchain(), str(old), ollama, JUDGE)(items, ANSWERS)
    server.requests.clear()
    renamed = {"f16": ANSWERS["q4"], "served": ANSWERS["served"]}
    (pair,) = Measuring(Toolchain(), str(new), ollama, JUDGE, earlier=[str(old)])(items, renamed)["judge"]["pairs"]
    assert (pair["model"], pair["wins"]) == ("f16", 5) and asked(server) == 0
    for changed in (Judge("judge:latest", "Short."), JUDGE):
        server.requests.clear()
        other = {"q4": ANSWERS["q4"], "served": lines("wrong", "6" * 64)}
        Measuring(Toolchain(), str(new), ollama, changed, earlier=[str(old)])(items, other)
        assert asked(server) == 10, "another rubric, or another model, is another question"


def test_a_new_judge_of_the_same_name_is_asked_anew(server: FakeOllama, tmp_path: Path) -> None:
    measuring = Measuring(Toolchain(), str(tmp_path), Ollama(server.url), JUDGE)
    measuring(items, ANSWERS)
    server.models["judge:latest"] = "2" * 64
    measuring(items, ANSWERS)
    assert asked(server) == 20


def test_a_failure_in_between_is_asked_again(server: FakeOllama, tmp_path: Path) -> None:
    reply, failures = server.reply, iter([False, False, True])
    server.reply = lambda model, prompt: 500 if next(failures, False) else reply(model, prompt)
    found = Measuring(Toolchain(), str(tmp_path), Ollama(server.url), JUDGE)(items, ANSWERS)
    assert found["judge"]["pairs"][0]["wins"] == 5
    server.reply = lambda _model, _prompt: 500
    with pytest.raises(RemoteError):
        Measuring(Toolchain(), str(tmp_path), Ollama(server.url), Judge("judge:latest", "x"), away=0)(items, ANSWERS)


def test_a_judge_without_anything_to_compare_with(server: FakeOllama, tmp_path: Path) -> None:
    found = Measuring(Toolchain(), str(tmp_path), Ollama(server.url), JUDGE)(items, {"q4": ANSWERS["q4"]})
    assert "evaluations.judge_without_other" in [note.code for note in found["notes"]] and "judge" not in found


def test_a_judge_that_is_missing(server: FakeOllama, tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="ollama pull other"):
        Measuring(Toolchain(), str(tmp_path), Ollama(server.url), Judge("other"))(items, ANSWERS)


def test_the_report_has_what_was_measured(server: FakeOllama, tmp_path: Path) -> None:
    measured = Measuring(Toolchain(), str(tmp_path), Ollama(server.url), JUDGE)(items, ANSWERS)
    models = [Model("q4", "candidate", "m:v2", "4" * 64), Model("served", "served", "m:v1", "5" * 64)]
    facts = Facts("m", "q4", models, "2026-01-01T00:00:00Z", 1.0, "0.32.15", **measured)
    made = build(facts, items(), ANSWERS, Requirements())
    assert made["judge"]["pairs"][0]["wins"] == 5
    assert made["notes"][0]["code"] == "evaluations.chrf_not_installed"
    assert json.loads(json.dumps(made)) == made
