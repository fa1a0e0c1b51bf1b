# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Terminal output while two hosts train at once: live lines, Ctrl-C, status, cancel, and attach.

Real LLaMA-Factory on both, up to the GGUF files, without Ollama. About a minute on two cores, and so in "full" alone:
the quickstart's test has the live lines of one host, and molecule's scenario ``stack`` a play that attaches to a run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import (
    ROOT,
    TRAINING,
    Played,
    PlayLab,
    left_running,
    make_tiny_base,
)

pytestmark = pytest.mark.full

HOSTS = ("pc-ia", "pc-two")
STEPS = 240
#: A line of progress of a training, from its first to its last character.
TRAINS = re.compile(
    r"\[(pc-ia|pc-two)\] train lab-model  (\d+)%  step (\d+)/240(  loss \d[\d.e-]*)?(  ETA \d+:\d\d:\d\d)?"
)
#: The start of a line of progress, anywhere in a line.
ANY_LINE = re.compile(r"\[(?:pc-ia|pc-two)\] [a-z0-9-]+ lab-model")


class TwoHosts(PlayLab):
    """Two hosts with separate data directories."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, str(make_tiny_base(root / "base")))
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        self.inventory.write_text(json.dumps({"pc_ia": {"hosts": dict.fromkeys(HOSTS, host)}}))
        self.declared["llamafactory_data_dir"] = str(root / "data" / "{{ inventory_hostname }}")
        self.declared["finetune_plots_dir"] = str(root / "plots")
        tune = self.declared["finetunes"][0]
        assert STEPS % 5 == 0, "an epoch is five steps"
        tune.update(TRAINING, epochs=STEPS // 5, save_steps=20, register=False)

    def start(self, name: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a play in the background, with both output streams in files."""
        with (self.root / f"{name}.out").open("wb") as out, (self.root / f"{name}.err").open("wb") as err:
            return subprocess.Popen(
                self.command(*arguments), env=self.environment(**environment), cwd=self.root,
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip

    def printed(self, name: str, stream: str) -> str:
        """The output of a play on a stream so far."""
        return (self.root / f"{name}.{stream}").read_text(encoding="utf-8", errors="replace")

    def checkpoints(self, host: str) -> list[str]:
        """The checkpoints of a training that has not ended."""
        return sorted(path.name for path in (self.data / host).rglob("checkpoint-*") if path.is_dir())


@dataclasses.dataclass
class Observations:
    """The observations, in order."""

    lab: TwoHosts
    interrupted: int
    status: Played
    cancelled: Played
    kept: list[str]
    followed: int
    again: Played


def wait_for(what: str, condition: t.Callable[[], bool], seconds: float = 240) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def observations(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Observations]:
    lab = TwoHosts(tmp_path_factory.mktemp("follow") / "lab")
    first = lab.start("first", "-vvv")
    try:

        def both_train() -> bool:
            assert first.poll() is None, lab.printed("first", "out")[-3000:]
            seen = {line[1] for line in TRAINS.finditer(lab.printed("first", "err")) if int(line[3]) >= 20}
            return seen == set(HOSTS)

        wait_for("both hosts train", both_train)
        os.killpg(first.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
        interrupted = first.wait(timeout=60)
        status = lab.play(playbook="status")
        cancelled = lab.play("-e", "finetune_name=lab-model", "--limit", HOSTS[0], playbook="cancel").well()
        kept = lab.checkpoints(HOSTS[0])
        second = lab.start(
            "second",
            ANSIBLE_STDOUT_CALLBACK="one_json",
            ANSIBLE_CALLBACK_PLUGINS=str(ROOT / "tests" / "support" / "callbacks"),
        )
        followed = second.wait(timeout=600)
        yield Observations(lab, interrupted, status, cancelled, kept, followed, lab.play())
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)


def whole_lines(text: str) -> list[re.Match[str]]:
    """The lines of training progress; checks that each of them is complete and not mixed with other output."""
    found = []
    for line in text.splitlines():
        if not ANY_LINE.search(line):
            continue
        assert ANY_LINE.match(line), f"something stands before it: {line!r}"
        assert len(ANY_LINE.findall(line)) == 1, f"two in one line: {line!r}"
        if " train lab-model  " in line and "waiting" not in line and "%" in line:
            whole = TRAINS.fullmatch(line.rstrip())
            assert whole, repr(line)
            found.append(whole)
    return found


def test_progress_of_two_hosts_is_printed_live(observations: Observations) -> None:
    lines = whole_lines(observations.lab.printed("first", "err"))
    assert {line[1] for line in lines} == set(HOSTS)
    assert any(line[4] for line in lines), "the loss is shown"
    assert any(line[5] for line in lines), "and the remaining time"
    for host in HOSTS:
        steps = [int(line[3]) for line in lines if line[1] == host]
        assert steps == sorted(steps)
        assert len(steps) < 40, "throttled"


def test_ctrl_c_does_not_stop_a_training(observations: Observations) -> None:
    assert observations.interrupted != 0
    for host in HOSTS:
        assert re.search(
            rf"^ok: \[{host}\].*(\n .*)*\n +lab-model-\w+ +running +train +\d+%", observations.status.output, re.M
        ), observations.status.output


def test_cancel_keeps_the_checkpoint(observations: Observations) -> None:
    assert re.search(r"lab-model-\w+ +cancelled", observations.cancelled.output), observations.cancelled.output
    assert HOSTS[1] not in observations.cancelled.output
    assert observations.kept, "a checkpoint is kept"


def test_next_play_attaches_with_clean_json_output(observations: Observations) -> None:
    said = observations.lab.printed("second", "out")
    assert observations.followed == 0, (said + observations.lab.printed("second", "err"))[-4000:]
    document = json.loads(said)  # nothing but the document is on stdout
    assert {host: figures["failures"] for host, figures in document["hosts"].items()} == dict.fromkeys(HOSTS, 0)
    assert {line[1] for line in whole_lines(observations.lab.printed("second", "err"))} == set(HOSTS)
    trained = {
        entry["host"]: step["outcome"]
        for entry in document["results"]
        for step in entry["result"].get("steps") or []
        if step["step"] == "train"
    }
    assert {host: outcome["steps"] for host, outcome in trained.items()} == dict.fromkeys(HOSTS, STEPS)
    assert trained[HOSTS[0]]["resumed_from"] >= 20, "it resumed from its checkpoint"
    assert not trained[HOSTS[1]]["resumed_from"], "it was never interrupted"


def test_loss_plots_are_copied_to_the_controller(observations: Observations) -> None:
    plots = sorted((observations.lab.root / "plots").iterdir())
    assert [plot.name.rpartition("-lab-model-")[0] for plot in plots] == sorted(HOSTS)
    assert all(plot.read_bytes().startswith(b"\x89PNG") for plot in plots)


def test_second_play_changes_nothing_on_both_hosts(observations: Observations) -> None:
    recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=0", observations.again.output, re.M)
    assert sorted(recap) == [(host, "0") for host in sorted(HOSTS)], observations.again.output[-3000:]
    assert left_running(str(observations.lab.data)) == {}
