# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts train one model together with DeepSpeed's ZeRO, on CPUs, in the environment that the role creates.

By hand (``IA_DEEPSPEED=1 ./test.sh real``): the environment takes a minute, and DeepSpeed compiles what its processes
talk through for another two when it is first used.
"""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.node_plays import NAMES, Nodes
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import ROOT

pytestmark = pytest.mark.deepspeed


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> str:
    """LLaMA-Factory's environment with DeepSpeed, created by the role."""
    found = tmp_path_factory.mktemp("deepspeed") / "tools.env"
    said = {"llamafactory_tools_dir": os.environ["IA_TOOLS_DIR"], "tests_tools_env": str(found)}
    wanted = {"llamafactory_components": ["llamafactory"], "llamafactory_deepspeed": True}
    argv = ["ansible-playbook", "-i", "localhost,", str(ROOT / "tests/tools.yml"), "-e", json.dumps({**said, **wanted})]
    subprocess.run(argv, cwd=ROOT, check=True)
    (line,) = [line for line in found.read_text().splitlines() if line.startswith("IA_LF_VENV=")]
    return line.partition("=")[2].strip("'")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, environment: str) -> t.Iterator[Nodes]:
    made = Nodes(tmp_path_factory.mktemp("nodes") / "house")
    made.declared["llamafactory_toolchain"]["llamafactory_venv"] = environment
    made.finetune["epochs"] = 4
    made.lab.start()
    yield made
    made.lab.stop()


def losses(nodes: Nodes, **more: t.Any) -> tuple[list[float], dict[str, t.Any], str]:
    """Train once; return the loss of each step, the receipt, and the output."""
    known = {receipt["fingerprint"] for receipt in nodes.receipts("pc-a", "train")}
    nodes.play(within=nodes.lab.within(), finetunes=[{**nodes.finetune, **more}]).well()
    (receipt,) = [one for one in nodes.receipts("pc-a", "train") if one["fingerprint"] not in known]
    adapter = Path(nodes.on("pc-a").artifact("train", receipt["fingerprint"]))
    history = json.loads((adapter / "trainer_state.json").read_text())["log_history"]
    logs = sorted(Path(nodes.on("pc-a").jobs).glob("*/*/train-*/log.txt"), key=lambda path: path.stat().st_mtime)
    return [entry["loss"] for entry in history if "loss" in entry], receipt, logs[-1].read_text()


def test_zero_reproduces_losses_without_it(nodes: Nodes) -> None:
    plain, receipt, said = losses(nodes)
    assert len(plain) == 4 * 3
    assert "zero_config" not in said
    made = {receipt["fingerprint"]}
    for stage in (2, 3):
        zero = {
            "train_batch_size": "auto",
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": "auto",
            "gradient_clipping": "auto",
            "zero_allow_untested_optimizer": True,
            "zero_optimization": {"stage": stage},
        }
        found, receipt, said = losses(nodes, extra={"deepspeed": zero})
        assert f"zero_config .................. stage={stage}" in said
        assert "world_size ................... 2" in said
        assert found == pytest.approx(plain, rel=0.01)
        assert receipt["settings"]["nodes"] == len(NAMES)
        made.add(receipt["fingerprint"])
    assert len(made) == 3
    assert len(nodes.receipts("pc-a", "gguf")) == 3
