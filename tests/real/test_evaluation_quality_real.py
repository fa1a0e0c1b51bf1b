# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Toys whose quality is known come out of their evaluations in the right order, and worse ones are not promoted.

Five versions of one model: trained for 1, 4 and 16 epochs, on other rows, and without the rows that it is to remember.
The tests build on each other, in their order. About four minutes on two idle cores.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import summaries
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.comparison import find
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.store import Evaluations
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server
from ansible_collections.ia_homelab.llamafactory.tests.support.toy_workspace import PROMPTS, Workspace, respelled

pytestmark = pytest.mark.full

ROWS = PROMPTS[:6]
OTHER_ROWS = PROMPTS[6:12]
#: What only some versions learn.
MORE_ROWS = PROMPTS[12:14]
LATEST = "toy:latest"
Report = t.Mapping[str, t.Any]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, ollama_server: Server) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("quality"), ollama_server)
    made.publish("homelab", [*ROWS, *MORE_ROWS])
    made.publish("other", [*OTHER_ROWS, *MORE_ROWS])
    made.publish("forgetful", ROWS)
    made.publish("tests", respelled(ROWS))
    # As they were trained: these a toy must remember. In another order, because a guard that is itself the dataset of a
    # training is refused.
    made.publish("remembered", [*MORE_ROWS, *ROWS])
    return made


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """The reports of earlier tests."""
    return {}


def train(workspace: Workspace, dataset: str, epochs: int, **evaluation: t.Any) -> tuple[str, str, Report]:
    """A version: the state of its run, the error message, and its report."""
    run, _pending, view = workspace.apply(
        name="toy",
        dataset=dataset,
        epochs=epochs,
        batch_size=1,
        method="full",
        learning_rate=2e-3,
        quantizations=["q8_0"],
        evaluation={"rows": "tests", "guard": "remembered", **evaluation},
    )
    message = str((view.error or {}).get("message") or "")
    assert run.step("evaluate").spec.fingerprint, message
    return view.state, message, workspace.report(run)


def value(report: Report, measure: str, label: str = "q8_0") -> float:
    model = next(model for model in report["models"] if model["label"] == label)
    return float(model["measures"][measure]["value"])


def test_more_epochs_are_better(workspace: Workspace, reports: dict[str, Report]) -> None:
    for epochs in (1, 4, 16):
        state, message, report = train(workspace, "homelab", epochs)
        assert state == "succeeded", message
        reports[str(epochs)] = report
    reports["served"] = {"digest": workspace.ollama.digest(LATEST)}
    remembered = [value(reports[epochs], "guard") for epochs in ("1", "4", "16")]
    assert remembered[0] < remembered[1] < remembered[2] and remembered[2] > 0.8, remembered
    few, more, many = (value(reports[epochs], "text") for epochs in ("1", "4", "16"))
    assert few < min(more, many), (
        "questions that are spelled differently may be lost again when rows are learned by heart"
    )
    difference = find(reports["4"]["comparisons"], "q8_0", "served", "text")
    assert difference is not None and difference["low"] > 0, "more than chance"
    assert value(reports["16"], "text", "served") == pytest.approx(more), "the same model was asked before"


def test_other_rows_are_worse_and_a_judge_compares_the_texts(
    workspace: Workspace, reports: dict[str, Report], make: t.Any, tmp_path: Path
) -> None:
    gguf = make.small(tmp_path / "judge.gguf", False, "judge")
    workspace.ollama.push_blob(gguf.path, gguf.digest)
    template = "{{ .System }} {{ .Prompt }}"
    workspace.ollama.create("quality-judge:latest", files={"model.gguf": gguf.digest}, template=template)
    required = {"require": {"not_worse_than_served": True}, "judge": {"model": "quality-judge"}}
    state, message, report = train(workspace, "other", 16, **required)
    assert state == "failed" and message.startswith("The evaluation is not passed: q8_0: text is "), message
    assert value(report, "guard") <= len(MORE_ROWS) / len([*ROWS, *MORE_ROWS])
    difference = find(report["comparisons"], "q8_0", "served", "text")
    assert difference is not None and difference["high"] < 0, "more than chance"
    (pair,) = report["judge"]["pairs"]
    assert (pair["against"], pair["asked"], pair["unread"]) == ("served", len(ROWS), 0)
    assert pair["wins"] == pair["losses"] == 0, "a toy that always says the same decides nothing"
    assert workspace.ollama.digest(LATEST) == reports["served"]["digest"]


def test_what_was_forgotten_is_noticed(workspace: Workspace, reports: dict[str, Report]) -> None:
    state, message, report = train(workspace, "forgetful", 16, require={"guard_drop_at_most": 0.1})
    assert state == "failed" and "guard" in message, message
    assert 0.5 <= value(report, "guard") < value(report, "guard", "served"), "its own rows it knows"
    assert workspace.ollama.digest(LATEST) == reports["served"]["digest"]


def test_all_of_them_are_shown(workspace: Workspace) -> None:
    """Each version has its line, whether it was promoted or not."""
    evaluations = Evaluations(workspace.layout)
    found = [each for one in evaluations.all for each in one.candidates.values()]
    lines = [summaries.summary_of(evaluations, registration)["line"] for registration in found]
    assert len(lines) == 5 and sum("not met" in line for line in lines) == 2
