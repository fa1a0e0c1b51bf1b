# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows with tools in a real training: schemas of every shape are trained, and rows are as long as was counted.

Needs ``IA_LF_VENV``; about a minute on two idle cores.
"""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.house_format import (
    HOUSE,
    TEMPLATE,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.output_formats import (
    MessagesOutput,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rendering import render
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train import TrainStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp
from ansible_collections.ia_homelab.llamafactory.tests.real import test_steps_real as steps_real
from ansible_collections.ia_homelab.llamafactory.tests.support.conversations import ODD

#: Fewer than the row has bytes, so that its tokens are counted, and more than its tokens.
CUTOFF = 1300
DATASET = fingerprint("dataset", {"tools": 1}, {})
ROW = {
    "messages": [
        {"role": "user", "content": "Plus fort"},
        {
            "role": "assistant",
            "content": "Voilà.",
            "tool_calls": [
                {"id": name, "function": {"name": "set_level", "arguments": {"a": level, "e": None}}}
                for name, level in (("c1", 50), ("c2", 100.0))
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "deux"},
        {"role": "tool", "tool_call_id": "c1", "content": "un"},
        {"role": "assistant", "content": "C'est fait."},
    ],
    "tools": ODD,
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[steps_real.Workspace]:
    for made in steps_real.prepared(tmp_path_factory.mktemp("tools")):
        directory = Path(made.layout.artifact("dataset", DATASET))
        directory.mkdir(parents=True)
        render("rows", [Source("rows", records=[ROW])], path=str(directory / "data.jsonl"))
        write_json(str(directory / "dataset_info.json"), {"dataset": MessagesOutput.entry("data.jsonl")})
        yield made


@pytest.mark.full
@pytest.mark.parametrize(("template", "tool_format"), [("qwen", TEMPLATE), ("zephyr", TEMPLATE), ("chatml", HOUSE)])
def test_rows_are_trained_and_counted(workspace: steps_real.Workspace, template: str, tool_format: str) -> None:
    """LLaMA-Factory reports how many tokens it has read, padded to a multiple of eight."""
    wanted = hp.normalise(
        {**steps_real.DECLARED, "template": template, "epochs": 1, "warmup_ratio": 0, "cutoff_len": CUTOFF}
    )
    settings = {**hp.settings(wanted), "tool_format": tool_format}
    ctx = workspace.context(
        "train",
        settings,
        {"base": steps_real.BASE, "dataset": DATASET},
        resolved={**hp.resolved(wanted), "tool_format": tool_format},
        accelerator="cpu",
        name="essai",
    )
    results = workspace.run(TrainStep(), ctx)
    counted = results["too_long"]
    assert counted["exact"] and counted["counted"] == 1 and counted["rows"] == 0
    assert 0 <= results["total_tokens"] - counted["longest"] < 8
    assert counted["longest"] > 300
    assert "spelled as the server" in steps_real.log_of(ctx)
    assert os.path.exists(os.path.join(ctx.work, "probes.json"))
