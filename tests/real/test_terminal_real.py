# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much the plays print, with the default callback and from an installed collection, as a user has it.

The numbers are upper bounds: a plan, an apply and each failure fit on a screen. No play prints that a task was skipped.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import (
    ROOT,
    Played,
    PlayLab,
    left_running,
    make_tiny_base,
)

#: Lines that a screen has, and that a plan has with what Ansible prints around it: head, names of tasks, recap.
SCREEN, PLAN = 43, 26
UNKNOWN = {"gate": {"prompts": [{"prompt": "Bonjour ?", "contains": "no model would say that"}]}}


class Installed:
    """A lab whose plays are those of the installed collection, without a configuration file."""

    def __init__(self, lab: PlayLab, collections: Path) -> None:
        self.lab = lab
        self.playbooks = collections / "ansible_collections" / "ia_homelab" / "llamafactory" / "playbooks"
        self.environment = {"ANSIBLE_CONFIG": str(lab.root / "empty.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(collections)}
        (lab.root / "empty.cfg").write_text("[defaults]\n")

    def play(self, *arguments: str, playbook: str = "finetune", **declared: t.Any) -> Played:
        return self.lab.play(
            *arguments, playbook=str(self.playbooks / f"{playbook}.yml"), environment=self.environment, **declared
        )

    def started(self, **more: t.Any) -> subprocess.Popen[str]:
        """An apply at work, in a group of processes of its own."""
        command = self.lab.command(playbook=str(self.playbooks / "finetune.yml"), finetunes=self.finetune(**more))
        return subprocess.Popen(
            command, env=self.lab.environment(**self.environment), cwd=self.lab.root, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def finetune(self, **more: t.Any) -> list[dict[str, t.Any]]:
        return [{**self.lab.declared["finetunes"][0], **more}]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the collection, built with an inventory of a user in the checkout."""
    root = tmp_path_factory.mktemp("built")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        source = ROOT / name
        if source.is_file() and not source.is_symlink() and not name.startswith(("tests/", "service/tests/")):
            target = root / "checkout" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    own = root / "checkout" / "inventory" / "mine" / "hosts.yml"
    own.parent.mkdir(parents=True)
    own.write_text("pc_ia: {hosts: {pc-ia: {ansible_password: secret}}}\n")
    galaxy = str(Path(sys.executable).with_name("ansible-galaxy"))
    # the collection of the checkout would count as installed
    environment = {
        **os.environ, "ANSIBLE_HOME": str(root / "home"), "ANSIBLE_COLLECTIONS_PATH": str(root / "collections"),
    }  # fmt: skip
    for command in (
        ["build", "--output-path", str(root), str(root / "checkout")],
        ["install", "--offline", "--no-cache", "-p", str(root / "collections"), "{archive}"],
    ):
        archive = str(next(root.glob("*.tar.gz"), ""))
        words = [word.replace("{archive}", archive) for word in command]
        subprocess.run([galaxy, "collection", *words], check=True, capture_output=True, env=environment, cwd=root)
    return root


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Installed]:
    root = tmp_path_factory.mktemp("terminal")
    lab = PlayLab(root / "lab", str(make_tiny_base(root / "base")))
    lab.server.start()
    try:
        yield Installed(lab, built / "collections")
    finally:
        left_running(str(lab.data), 120)
        lab.server.stop()


def lines(played: Played, at_most: int) -> list[str]:
    """The printed lines, of which there are not too many."""
    found = played.output.splitlines()
    assert len(found) <= at_most, f"{len(found)} lines:\n{played.output}"
    assert not [line for line in found if line.startswith("skipping:")], played.output
    return found


def read_until(play: subprocess.Popen[str], text: str) -> str:
    """The output of a play up to the line with a text."""
    assert play.stdout is not None
    output = ""
    for line in play.stdout:
        output += line
        if text in line:
            return output
    pytest.fail(f"the play ended without {text!r}:\n{output}")


def one_message(played: Played, at_most: int, *texts: str) -> str:
    """The failure of a play, which is printed once and in few lines, and has each of these texts once."""
    found = [line for line in lines(played, at_most) if "FAILED!" in line or line.startswith("[ERROR]")]
    assert played.status != 0 and len(found) == 1, played.output
    assert set(json.loads(found[0].partition(" => ")[2])) == {"changed", "msg"}, "details are for -v"
    for text in texts:
        assert found[0].count(text) == 1 and played.output.count(text) == 1, f"{text!r} in {played.output}"
    return found[0]


def test_inventories_of_the_user_are_not_packed(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = archive.getnames()
    assert "playbooks/finetune.yml" in names and not [name for name in names if name.startswith("inventory")]


@pytest.mark.parametrize(
    "extra, meant",
    [
        ("plan=x.json", "finetune_plan_file"),
        ("plna=x.json", "finetune_plan_file"),
        ("finetune_weit=1", "finetune_wait"),
    ],
)
def test_wrong_extra_variable_is_refused_before_any_task(installed: Installed, extra: str, meant: str) -> None:
    played = installed.play("-e", extra)
    assert played.status != 0 and meant in played.output and "TASK" not in played.output
    lines(played, 10)


def test_missing_plan_is_one_message(installed: Installed) -> None:
    played = installed.play("-e", "finetune_plan_file=/missing.json")
    assert played.status != 0 and "there is no file /missing.json" in played.output and "TASK" not in played.output
    lines(played, 10)


def test_misspelled_option_is_one_message(installed: Installed) -> None:
    played = installed.play(finetunes=installed.finetune(epohcs=2))
    one_message(played, 12, "lab-model: There is no option 'epohcs' of a fine-tune. Did you mean epochs?")


def test_verbose_failure_has_its_details(installed: Installed) -> None:
    played = installed.play("-v", playbook="plan", finetunes=installed.finetune(base_model="/no/such/base"))
    assert '"details": {' in played.output and "[ERROR]" not in played.output
    assert played.output.count("The base model /no/such/base is not a directory on this host.") == 1


def test_every_row_that_is_refused_is_in_one_message(installed: Installed) -> None:
    bad = installed.lab.root / "bad.json"
    bad.write_text(json.dumps([{"instruction": "a"}, {"output": 3}]))
    played = installed.play(finetune_datasets=[{"name": "prompts", "src": str(bad)}])
    one_message(played, 12, "row 1, field output: it is missing", "Put it in quotes")


def test_check_ends_with_the_plan(installed: Installed) -> None:
    played = installed.play("--check").well()
    found = lines(played, PLAN)
    assert "lab-model: 6 of 6 steps would run: a new fine-tune" in found
    after = played.output.partition("In all: ")[2]
    assert "Train" not in after and not installed.lab.data.exists()


def test_steps_are_listed(installed: Installed) -> None:
    shown = installed.play("--list-tasks").well().output
    for step in ("Fetch the base models", "Train", "Merge, convert to GGUF and register in Ollama", "Promote"):
        assert f"finetune : {step}" in shown


def on_disk(size: str, filler: str = ":") -> list[str]:
    """A command that runs another with a separate tmpfs at the path that is its first argument.

    :param filler: shell commands that run beside it; ``$0`` is that path.
    """
    script = (
        f'mount -t tmpfs -o size={size},nr_inodes=10k none "$0" || exit 9; ( {filler} ) & filler=$!; '
        '"$@"; status=$?; kill $filler 2>/dev/null; exit $status'
    )
    private = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        private += ["--user", "--map-root-user"]
    return [*private, "sh", "-c", script]


def test_disk_that_is_too_small_is_one_message(installed: Installed) -> None:
    disk = installed.lab.root / "small"
    disk.mkdir()
    played = installed.play(within=[*on_disk("6m"), str(disk)], llamafactory_data_dir=str(disk / "data"))
    one_message(played, SCREEN, "Make room on that filesystem")


@pytest.mark.full
def test_disk_that_fills_up_is_one_message(installed: Installed) -> None:
    disk = installed.lab.root / "full"
    disk.mkdir()
    fill = (
        'until ls "$0"/data/jobs/*/*/train*/command.json; do sleep 0.05; done; '
        'while :; do cat /dev/zero >>"$0/ballast"; sleep 0.05; done'
    )
    played = installed.play(
        within=[*on_disk("40m", f"{{ {fill}; }} >/dev/null 2>&1"), str(disk)], llamafactory_data_dir=str(disk / "data")
    )
    one_message(played, SCREEN, "Make room")


def test_unknown_fine_tune_is_not_cancelled(installed: Installed) -> None:
    played = installed.play("-e", "finetune_name=nobody", playbook="cancel")
    one_message(played, 12, "'nobody'")


@pytest.mark.full
def test_cancelled_run_is_one_message(installed: Installed) -> None:
    with installed.started(epochs=30) as play:
        read_until(play, "TASK [ia_homelab.llamafactory.finetune : Train]")
        lines(installed.play("-e", "finetune_name=lab-model", playbook="cancel").well(), 20)
        assert play.stdout is not None
        output = play.stdout.read()
    one_message(Played(play.returncode, output), SCREEN, "lab-model: cancelled. Apply again to resume")


@pytest.mark.full
def test_interrupted_apply_says_what_goes_on(installed: Installed) -> None:
    with installed.started(epochs=2) as play:
        output = read_until(play, "Fetch the base models")
        time.sleep(1)
        os.killpg(play.pid, signal.SIGINT)
        assert play.stdout is not None
        output += play.stdout.read()
    assert play.returncode == 99
    lines(Played(play.returncode, output), SCREEN)
    assert output.count("[ERROR]") == 1
    assert "What was submitted goes on on the hosts." in output and "playbooks/cancel.yml -e finetune_name=" in output
    cancelled = installed.play("-e", "finetune_name=lab-model", playbook="cancel").well()
    assert "cancelled" in cancelled.output
    lines(cancelled, 20)
    dismissed = installed.play("-e", "finetune_name=lab-model", "-e", "finetune_dismiss=true", playbook="cancel").well()
    lines(dismissed, 20)
    assert "no runs" in installed.play(playbook="status").well().output


@pytest.mark.full
def test_apply_ends_with_a_table(installed: Installed) -> None:
    played = installed.play().well()
    found = lines(played, SCREEN)
    head = next(number for number, line in enumerate(found) if line.startswith("MODEL "))
    assert re.match(r"lab-model +[0-9a-f]{12}-q4_K_M +[\d.]+ → [\d.]+ +\d+|none +\d:\d\d:\d\d", found[head + 1])
    assert "ollama run lab-model:latest" in played.output
    # a base may be there, of a run that another test has stopped
    planned = re.search(r"lab-model: \d of 6 steps would run", played.output)
    assert planned and planned.end() < played.output.index("Fetch the base models"), "the plan comes before any step"
    again = installed.play().well()
    lines(again, 30)
    assert again.recap["changed"] == 0 and "ollama run lab-model:latest" in again.output


@pytest.mark.full
def test_no_playbook_prints_that_a_task_was_skipped(installed: Installed) -> None:
    installed.play().well()
    question = json.dumps({"finetune_question": "Bonjour ?"})
    kept = installed.lab.root / "kept.json"
    kept.write_text(json.dumps([{"role": "user", "content": "Bonjour ?"}]))
    name = ("-e", "finetune_name=lab-model")
    lines(installed.play(playbook="plan").well(), PLAN)
    lines(installed.play("-e", f"finetune_plan_file={installed.lab.root}/plan.json", playbook="plan").well(), PLAN)
    lines(installed.play(playbook="status").well(), SCREEN)
    lines(installed.play(*name, "-e", question, playbook="chat").well(), SCREEN)
    lines(installed.play(*name, "-e", f"finetune_conversation={kept}", playbook="chat").well(), SCREEN)
    assert [message["role"] for message in json.loads(kept.read_text())] == ["user", "assistant"]
    lines(installed.play(*name, playbook="cancel").well(), 20)
    tools = [{"name": "homelab", "src": str(ROOT / "playbooks" / "files" / "tools" / "homelab.json")}]
    lines(installed.play(playbook="tools", finetune_tools=tools).well(), 20)
    one_message(installed.play(playbook="tools"), 12, "finetune_tools declares no tools of pc-ia")
    one_message(installed.play(playbook="page"), 12, "The training service is not installed on pc-ia")
    one_message(installed.play(*name, playbook="rollback"), 12, "it has had no other version")


@pytest.mark.full
def test_shut_gate_fails_the_promotion_alone(installed: Installed) -> None:
    played = installed.play(finetunes=installed.finetune(**UNKNOWN))
    assert played.status != 0
    one_message(played, SCREEN, "The gate is shut", "it does not contain", "change the gate")
    before, _task, failed = played.output.partition(
        "TASK [ia_homelab.llamafactory.finetune : Promote what passes its gate]"
    )
    assert "FAILED" in failed and "FAILED" not in before


@pytest.mark.full
def test_an_evaluation_has_one_message_or_one_line(installed: Installed) -> None:
    asked = {"held_out": 0.2, "guard": "general"}
    played = installed.play(finetunes=installed.finetune(evaluation={**asked, "require": {"same": 0.9}}))
    failed = one_message(
        played, SCREEN + 12, "The evaluation is not passed", "or require less", "and must be at least 0.9"
    )
    assert re.search(r"and \d+ more\.", failed), "ten answers are shown"
    played = installed.play(finetunes=installed.finetune(evaluation=asked)).well()
    found = lines(played, SCREEN)
    assert any(re.match(r"  evaluate +kept", line) for line in found), "less is required: nothing is asked again"
    (line,) = [line for line in found if line.startswith("lab-model: text ")]
    assert re.match(r"lab-model: text [\d.]+, guard \d+/40", line) and "not met" not in line
    again = installed.play(finetunes=installed.finetune(evaluation=asked)).well()
    assert line in lines(again, 32) and again.recap["changed"] == 0
