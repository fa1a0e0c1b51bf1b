# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The day of a training, from its receipt."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import step_context
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import StepSpec, Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.training_day import training_day

TRAIN, MERGE, GGUF = "a" * 64, "b" * 64, "c" * 64


def receipt(layout: Layout, kind: str, fingerprint: str, **content: object) -> None:
    """Write a receipt."""
    path = layout.artifact(kind, fingerprint)
    os.makedirs(path)
    values = {"schema": 1, "kind": kind, "fingerprint": fingerprint, "settings": {}, **content}
    Path(path, "receipt.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("started", "expected"),
    [("2026-03-05T12:00:00.000Z", "05 Mar 2026"), ("2026-12-31T12:00:00.500Z", "31 Dec 2026"), ("", ""), ("?", "")],
)
def test_day(tmp_path: Path, started: str, expected: str) -> None:
    layout = Layout(str(tmp_path))
    layout.create()
    receipt(layout, "train", TRAIN, started_at=started, upstream={})
    receipt(layout, "merge", MERGE, upstream={"train": TRAIN})
    receipt(layout, "gguf", GGUF, upstream={"merge": MERGE})
    spec = StepSpec("register", "d" * 64, {}, {"gguf": GGUF}, {})
    assert training_day(step_context(layout, spec, Toolchain())) == expected
    if expected:
        # as LLaMA-Factory writes it, in the locale C
        moment = datetime.datetime.fromisoformat(started.rstrip("Z"))
        assert moment.strftime("%d %b %Y") == expected


def test_no_training(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    layout.create()
    spec = StepSpec("register", "d" * 64, {}, {"gguf": GGUF}, {})
    assert training_day(step_context(layout, spec, Toolchain())) == ""
