# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed since the previous result: settings with both values, inputs, and rows of the dataset."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.changes import (
    Change,
    PreviousResult,
    changes,
    dataset_changes,
    dataset_detail,
    describe_base,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import StepSpec
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import make_dirs, write_json

COMMIT = "a09a35458c702b33eeacc393d103063234e8bc28"
OLD, NEW = "1" * 64, "2" * 64


class Results:
    """Receipts in a data directory."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(str(root))
        self.layout.create()

    def add(self, kind: str, fingerprint: str, at: str = "2026-01-01", **receipt: t.Any) -> dict[str, t.Any]:
        path = self.layout.artifact(kind, fingerprint)
        make_dirs(path)
        made = {"fingerprint": fingerprint, "settings": {}, "upstream": {}, "options": {}, "finished_at": at, **receipt}
        write_json(f"{path}/receipt.json", made)
        return {"kind": kind, **made}

    def rows(self, fingerprint: str, *answers: str) -> None:
        lines = [{"instruction": f"q{n}", "input": "", "output": text, "system": ""} for n, text in enumerate(answers)]
        Path(self.layout.artifact("dataset", fingerprint), "data.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines)
        )


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path)


def spec(kind: str, settings: dict[str, t.Any], upstream: dict[str, str] | None = None) -> StepSpec:
    return StepSpec(kind, NEW, settings, upstream or {}, {})


def test_of_settings_both_values_are_named_in_the_order_of_the_options(results: Results) -> None:
    before = {"fingerprint": OLD, "settings": {"seed": 7, "lora_rank": 16, "extra": {"optim": "adamw", "same": 1}}}
    now = spec("train", {"learning_rate": 0.0001, "lora_rank": 32, "extra": {"optim": "sgd", "same": 1}})
    assert [change.describe() for change in changes(results.layout, before, now)] == [
        "learning_rate 0.0002 → 0.0001",
        "lora_rank 16 → 32",
        "seed 7 → 42",
        "extra.optim adamw → sgd",
    ], "a setting that is left out has its default"


def test_only_a_training_has_defaults(results: Results) -> None:
    (change,) = changes(results.layout, {"fingerprint": OLD, "settings": {}}, spec("register", {"system": "Tu aides."}))
    assert change.input == "system" and change.after == "Tu aides."


def test_the_same_fingerprint_has_no_changes(results: Results) -> None:
    assert changes(results.layout, {"fingerprint": NEW, "settings": {"seed": 1}}, spec("train", {"seed": 2})) == []


def test_changed_added_and_removed_inputs(results: Results) -> None:
    before = {"fingerprint": OLD, "settings": {}, "upstream": {"merge": OLD, "gone": "3" * 64}}
    found = changes(results.layout, before, spec("gguf", {}, {"merge": NEW, "new": "4" * 64}))
    assert found == [
        Change("merge", OLD[:12], NEW[:12]),
        Change("gone", "333333333333", "none"),
        Change("new", "none", "444444444444"),
    ]


def test_a_base_is_named_by_its_hub_or_digest(results: Results) -> None:
    results.add("base", OLD, settings={"hub": "Qwen/Qwen2.5-7B", "commit": COMMIT})
    before = {"fingerprint": OLD, "settings": {}, "upstream": {"base": OLD}}
    found = changes(results.layout, before, spec("merge", {}, {"base": NEW}), {NEW: {"description": "Llama@123"}})
    assert found == [Change("base", "Qwen/Qwen2.5-7B@a09a35458c70", "Llama@123")]
    assert describe_base({"directory": "abcdef0123456789"}, OLD) == "abcdef012345"
    assert describe_base({}, OLD) == OLD[:12], "its receipt is not here any more"
    assert describe_base({}, "") == "none"


def test_a_dataset_is_compared_row_by_row_where_both_versions_exist(results: Results) -> None:
    for fingerprint, answers in ((OLD, ("a", "b", "c")), (NEW, ("a", "B"))):
        results.add("dataset", fingerprint, results={"rows": len(answers)})
        results.rows(fingerprint, *answers)
    before = {"fingerprint": OLD, "settings": {}, "upstream": {"dataset": OLD}}
    now = spec("train", {}, {"dataset": NEW})
    (change,) = changes(results.layout, before, now)
    assert change.describe() == f"dataset sha256 {OLD[:12]} → {NEW[:12]} (1 row removed, 1 changed)"
    Path(results.layout.artifact("dataset", OLD), "data.jsonl").unlink()
    (change,) = changes(results.layout, before, now)
    assert str(change.detail) == "3 rows → 2", "the receipt outlives the rows"
    Path(results.layout.artifact("dataset", OLD), "receipt.json").write_text("{")
    (change,) = changes(results.layout, before, now)
    assert change.detail is None


def test_a_dataset_that_is_not_published_is_compared_by_what_is_known_of_it(results: Results) -> None:
    facts = {NEW: {"before": OLD, "changes": {"compared": True, "added": 2}, "results": {"rows": 7}}}
    assert dataset_changes(results.layout, OLD, NEW, facts) == {"compared": True, "added": 2}
    assert dataset_changes(results.layout, "3" * 64, NEW, facts) == {}, "those are against another version"
    results.add("dataset", OLD, results={"rows": 5})
    before = {"fingerprint": OLD, "settings": {}, "upstream": {"dataset": OLD}}
    facts[NEW]["before"] = "3" * 64
    (change,) = changes(results.layout, before, spec("train", {}, {"dataset": NEW}), facts)
    assert str(change.detail) == "5 rows → 7"


@pytest.mark.parametrize(
    ("differences", "text"),
    [
        ({}, ""),
        ({"compared": False, "added": 3}, ""),
        ({"compared": True, "added": 0, "removed": 0, "changed": 0}, "the same rows in another order or form"),
        ({"compared": True, "added": 1}, "1 row added"),
        ({"compared": True, "removed": 2, "changed": 1}, "2 rows removed, 1 changed"),
        ({"compared": True, "added": 11, "removed": 1, "changed": 3}, "11 rows added, 1 removed, 3 changed"),
    ],
)
def test_differences_in_words(differences: dict[str, t.Any], text: str) -> None:
    assert str(dataset_detail(differences) or "") == text


def test_the_previous_result_is_the_newest_of_that_name(results: Results) -> None:
    results.add("train", OLD, "2026-01-01", options={"name": "m"})
    results.add("train", NEW, "2026-01-02", options={"name": "m"}, upstream={"base": "3" * 64})
    results.add("train", "4" * 64, "2026-01-03", options={"name": "other"})
    previous = PreviousResult(results.layout, "m")
    assert previous and previous.finished_at == "2026-01-02"
    receipt = previous.receipt_for(spec("train", {}))
    assert receipt is not None and receipt["fingerprint"] == NEW
    assert not PreviousResult(results.layout, "unknown")


def test_the_previous_result_leads_to_all_its_inputs(results: Results) -> None:
    base, train, merge, f16 = ("3" * 64, "4" * 64, "5" * 64, "6" * 64)
    results.add("base", base)
    results.add("train", train, options={"name": "m"}, upstream={"base": base, "dataset": "7" * 64})
    results.add("merge", merge, upstream={"base": base, "train": train})
    results.add("gguf", f16, settings={"quantization": "f16"}, upstream={"merge": merge})
    options = {"name": "m", "f16": f16}
    results.add("gguf", NEW, settings={"quantization": "q4_K_M"}, options=options, upstream={"merge": merge})
    previous = PreviousResult(results.layout, "m")
    assert set(previous.receipts) == {
        ("gguf", "q4_K_M"),
        ("gguf", "f16"),
        ("merge", ""),
        ("train", ""),
        ("base", ""),
    }, "a dataset whose receipt is missing is left out"
    quantized = previous.receipt_for(spec("gguf", {"quantization": "q4_K_M"}))
    assert quantized is not None and quantized["fingerprint"] == NEW
    assert previous.receipt_for(spec("gguf", {"quantization": "q8_0"})) is None


def test_damaged_receipts_and_foreign_directories_are_passed_over(results: Results) -> None:
    results.add("train", OLD, options={"name": "m"})
    make_dirs(results.layout.artifact("train", NEW))
    Path(results.layout.artifact("train", NEW), "receipt.json").write_text("{")
    for name in (f".work-{NEW}", "x" * 64):
        make_dirs(f"{results.layout.parent('train')}/{name}")
    assert set(PreviousResult(results.layout, "m").receipts) == {("train", "")}


def test_changed_tools_are_named_as_the_reason(results: Results) -> None:
    for fingerprint, sha256 in ((OLD, "a"), (NEW, "b")):
        tools = {"homelab": {"sha256": sha256, "count": 1}, "same": {"sha256": "c", "count": 1}}
        results.add("dataset", fingerprint, results={"rows": 2, "tool_sets": tools})
        results.rows(fingerprint, "a", sha256)
    before = results.add("train", OLD, upstream={"dataset": OLD})
    found = changes(results.layout, before, spec("train", {}, {"dataset": NEW}))
    assert [str(change.detail) for change in found] == ["the tools homelab changed, 1 row changed"]
