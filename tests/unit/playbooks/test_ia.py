# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of ``./ia``: the command line of each, what it refuses, and the inventory that ``init`` writes.

``ansible-playbook`` and ``ansible`` are stand-ins that record their arguments, unless a test names the real ones.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import types
import typing as t
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _extra_vars
from ansible_collections.ia_homelab.llamafactory.tests.support.console_blocks import commands
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import taken_by

ROOT = Path(__file__).resolve().parents[3]
PYTHON = sys.executable
REAL = Path(PYTHON).parent
GUIDE = ROOT / "docs" / "getting-started.md"

#: Records the arguments, and answers like chat.yml: it adds an answer to the conversation.
STAND_IN = """#!{python}
import json, os, pathlib, sys
with open({log!r}, "a", encoding="utf-8") as stream:
    stream.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
if "playbooks/chat.yml" in sys.argv:
    path = pathlib.Path(json.loads(sys.argv[-1])["finetune_conversation"])
    messages = json.loads(path.read_text())
    path.write_text(json.dumps([*messages, {{"role": "assistant", "content": f"answer {{len(messages)}}"}}]))
print(os.environ.get("STAND_IN_OUTPUT", ""))
sys.exit(int(os.environ.get("STAND_IN_STATUS", "0")))
"""


class Front:
    """``ia.py`` in a repository of its own, whose only content is an inventory."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.log, programs = root, root / "log", root / "bin"
        (root / "inventory").mkdir()
        programs.mkdir()
        for name in ("ansible-playbook", "ansible"):
            (programs / name).write_text(STAND_IN.format(python=sys.executable, log=str(self.log)))
            (programs / name).chmod(stat.S_IRWXU)
        (programs / "ansible-inventory").symlink_to(REAL / "ansible-inventory")
        spec = importlib.util.spec_from_file_location("ia_commands", ROOT / "playbooks/files/ia.py")
        assert spec and spec.loader
        self.module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "ia_commands", self.module)
        spec.loader.exec_module(self.module)
        monkeypatch.setattr(self.module, "ROOT", root)
        monkeypatch.setattr(sys, "executable", str(programs / "python"))
        monkeypatch.chdir(root)

    def declare(self, *names: str, directory: str = "mine") -> Path:
        """Write an inventory with fine-tunes of these names."""
        path = self.root / "inventory" / directory
        path.mkdir()
        entries = [{"name": name, "base_model": "qwen2.5:0.5b", "dataset": "homelab"} for name in names]
        (path / "hosts.yml").write_text(json.dumps({"pc_ia": {"hosts": {"pc": {}}, "vars": {"finetunes": entries}}}))
        return path

    def run(self, *arguments: str, **options: t.Any) -> Result:
        return CliRunner().invoke(self.module.main, list(arguments), **options)

    def calls(self) -> list[list[str]]:
        """The command lines of the stand-ins."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Front:
    return Front(tmp_path, monkeypatch)


ENTRY = {"name": "one", "base_model": "qwen2.5:0.5b", "dataset": "homelab"}


@pytest.mark.parametrize(
    ("arguments", "playbook", "options", "values"),
    [
        (["install"], "site", [], {}),
        (["plan"], "plan", [], {}),
        (["plan", "one"], "plan", ["--limit", "pc"], {"finetunes": [ENTRY]}),
        (["plan", "--save", "p.json"], "plan", [], {"finetune_plan_file": "{root}/p.json"}),
        (["apply"], "finetune", [], {}),
        (["apply", "one"], "finetune", ["--limit", "pc"], {"finetunes": [ENTRY]}),
        (["apply", "--plan", "p.json"], "finetune", [], {"finetune_plan_file": "{root}/p.json"}),
        (["status"], "status", [], {}),
        (["status", "one", "--limit", "3"], "status", [], {"finetune_name": "one", "finetune_limit": 3}),
        (["rollback", "one"], "rollback", [], {"finetune_name": "one"}),
        (["rollback", "one", "--version", "3f"], "rollback", [], {"finetune_name": "one", "finetune_version": "3f"}),
        (["rollback", "one", "--release"], "rollback", [], {"finetune_name": "one", "finetune_release": True}),
        (["cancel", "one"], "cancel", [], {"finetune_name": "one"}),
        (["cancel", "one", "--dismiss"], "cancel", [], {"finetune_name": "one", "finetune_dismiss": True}),
        (["page"], "page", [], {}),
    ],
)
def test_each_command_calls_its_playbook(
    front: Front, arguments: list[str], playbook: str, options: list[str], values: dict[str, t.Any]
) -> None:
    inventory = front.declare("one", "two")
    done = front.run(*arguments)
    assert done.exit_code == 0, done.output
    (call,) = front.calls()
    wanted = json.loads(json.dumps(values).replace("{root}", str(front.root)))
    given = json.loads(call.pop()) if call[-2] == "-e" else {}
    assert given == wanted
    start = ["ansible-playbook", "-i", str(inventory), f"playbooks/{playbook}.yml", *options]
    assert call == start + (["-e"] if wanted else [])
    assert _extra_vars.problems(given, taken_by(ROOT / f"playbooks/{playbook}.yml")) == []


def test_chat_keeps_the_conversation(front: Front) -> None:
    front.declare("one")
    done = front.run("chat", "one", input="Who are you?\n{{ braces }}\n\n")
    assert done.exit_code == 0, done.output
    assert "answer 1" in done.output and "answer 3" in done.output
    first, second = (json.loads(call[-1]) for call in front.calls())
    assert first["finetune_name"] == second["finetune_name"] == "one"
    assert _extra_vars.problems(first, taken_by(ROOT / "playbooks/chat.yml")) == []
    assert "braces" not in json.dumps(front.calls())
    assert front.run("-K", "chat", "one", "Who", "are", "you?").output.strip() == "answer 1"
    assert "--ask-become-pass" not in front.calls()[-1], "it would be asked for before each question"


def test_verbose_and_the_password_of_sudo(front: Front) -> None:
    inventory = front.declare("one")
    done = front.run("-v", "-K", "cancel", "one")
    assert "--ask-become-pass" in front.calls()[0]
    assert f"ansible-playbook -i {inventory} playbooks/cancel.yml --ask-become-pass -e" in done.output


def test_ctrl_c_lets_the_playbook_end_by_itself(front: Front) -> None:
    """A terminal sends the signal to both; the playbook says what goes on, which takes a moment."""
    program = front.root / "bin" / "ansible-playbook"
    program.write_text(
        f"#!{PYTHON}\n"
        "import sys, time\n"
        "try:\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    time.sleep(1)\n"
        "    print('goes on', flush=True)\n"
        "    sys.exit(99)\n"
    )
    start = (
        "import sys; sys.path.insert(0, sys.argv[1]); import ia; sys.executable = sys.argv[2]; ia.main(sys.argv[3:])"
    )
    inventory = front.declare("one")
    command = [PYTHON, "-c", start, str(ROOT / "playbooks/files"), str(program), "-i", str(inventory), "apply"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as done:  # fmt: skip
        assert done.stdout is not None and done.stdout.readline() == "begun\n"
        os.killpg(done.pid, signal.SIGINT)
        output = done.stdout.read()
    assert output.splitlines()[0] == "goes on" and done.returncode == 99
    assert "./ia cancel NAME (stops it)" in output, "in the commands that its user knows"


def test_the_status_of_the_playbook_is_that_of_the_command(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    front.declare("one")
    monkeypatch.setenv("STAND_IN_STATUS", "2")
    monkeypatch.setenv("STAND_IN_OUTPUT", "what is wrong")
    assert front.run("apply").exit_code == 2
    done = front.run("chat", "one", "hello")
    assert done.exit_code == 2 and "what is wrong" in done.output


@pytest.mark.parametrize(
    ("inventories", "arguments", "message"),
    [
        ([], ["plan"], "run ./ia init"),
        (["a", "b"], ["plan"], "several inventories (a, b)"),
        (["a"], ["-i", "inventory/b", "plan"], "There is no inventory at"),
        (["a"], ["plan", "thre"], "declares no fine-tune 'thre'. Declared: one."),
        (["a"], ["rollback"], "Missing argument 'NAME'"),
        (["a"], ["rollback", "one", "--release", "--version", "3f"], "exclude each other"),
        (["a"], ["status", "--limit", "0"], "0 is not in the range"),
        (["a"], ["plna"], "No such command 'plna'"),
    ],
)
def test_what_is_wrong_is_refused(front: Front, inventories: list[str], arguments: list[str], message: str) -> None:
    for name in inventories:
        front.declare("one", directory=name)
    done = front.run(*arguments)
    assert done.exit_code != 0 and message in done.output, done.output
    assert front.calls() == []


def init(front: Front, **answers: str) -> Result:
    front.root.joinpath("my prompts.json").write_text(json.dumps([{"instruction": "a", "output": "b"}] * 20))
    given = {"host": "localhost", "base": "qwen2.5:0.5b", "prompts": "my prompts.json", "name": "my-model", **answers}
    return front.run("init", input="".join(f"{value}\n" for value in given.values()))


def test_init_asks_and_writes_an_inventory_that_ansible_reads_and_a_plan_accepts(front: Front, tmp_path: Path) -> None:
    """With the real ansible-inventory and ansible-playbook, on this machine through the connection "local"."""
    done = init(front)
    assert done.exit_code == 0, done.output
    inventory = front.root / "inventory" / "mine"
    (planned,) = front.calls()
    assert planned[-1] == "playbooks/plan.yml"
    assert sorted(path.name for path in front.root.joinpath("inventory").iterdir()) == ["mine"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    listed = subprocess.run(
        [str(REAL / "ansible-inventory"), "-i", str(inventory), "--list"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    variables = json.loads(listed.stdout)["_meta"]["hostvars"]["pc-ia"]
    assert variables["finetunes"][0]["name"] == "my-model" and variables["ansible_connection"] == "local"
    (tmp_path / "lab").mkdir()
    lab = PlanLab(tmp_path / "lab")
    plan = subprocess.run(
        [str(REAL / "ansible-playbook"), "-i", str(inventory), "playbooks/plan.yml",
         "-e", f"llamafactory_data_dir={lab.layout.root}", "-e", f"ansible_python_interpreter={REAL / 'python'}",
         "-e", "llamafactory_accelerator=cpu", "-e", "ansible_become=false"],
        cwd=ROOT, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "my-model" in plan.stdout and "new fine-tune" in plan.stdout
    assert "finetune : Plan]" in plan.stdout, "by this init knows that the host has answered"
    assert "parse" not in plan.stderr, "the prompts are not read as an inventory"
    assert "row 2 and row 1" in plan.stderr, "the warnings of the dataset are shown"


def test_init_for_another_host_asks_for_the_user(front: Front) -> None:
    done = front.run(
        "init", "far", "--host", "pc.lan", "--base", "qwen2.5:7b", "--prompts", __file__, "--name", "m", input="ia\n"
    )
    assert done.exit_code == 0, done.output
    hosts = (front.root / "inventory/far/hosts.yml").read_text()
    assert 'ansible_host: "pc.lan"' in hosts and 'ansible_user: "ia"' in hosts and "ansible_become: true" in hosts


def test_init_leaves_nothing_if_the_host_cannot_be_used(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_STATUS", "4")
    monkeypatch.setenv("STAND_IN_OUTPUT", "fatal: [pc-ia]: UNREACHABLE!")
    done = init(front)
    assert done.exit_code == 1 and "ssh-copy-id" in done.output
    plan = "TASK [ia_homelab.llamafactory.finetune : Plan] ***\n"
    monkeypatch.setenv("STAND_IN_OUTPUT", f"{plan}[ERROR]: Task failed: ia is not in the sudoers file.")
    done = init(front)
    assert "answers but cannot be used" in done.output and "sudoers file" in done.output
    monkeypatch.setenv("STAND_IN_OUTPUT", f"{plan}[ERROR]: Task failed: Missing sudo password")
    assert "./ia -K init" in init(front).output
    assert list(front.root.joinpath("inventory").iterdir()) == []


def test_init_asks_for_the_password_of_sudo_in_a_terminal(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    program = front.root / "bin" / "ansible-playbook"
    program.write_text(
        f"#!{PYTHON}\n"
        "import pathlib, sys\n"
        "calls = pathlib.Path(__file__).with_name('calls')\n"
        "said = ['Missing sudo password', 'Incorrect sudo password', 'the plan']\n"
        "before = len(calls.read_text()) if calls.exists() else 0\n"
        "assert ('--ask-become-pass' in sys.argv) == (before > 0)\n"
        "calls.write_text('.' * (before + 1))\n"
        "print(said[before])\n"
        "sys.exit(0 if before == 2 else 2)\n"
    )
    terminal = types.SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(front.module, "sys", types.SimpleNamespace(executable=sys.executable, stdin=terminal))
    done = init(front)
    assert done.exit_code == 0, done.output
    assert "sudo asks for a password there" in done.output and "did not accept the password" in done.output
    assert "the plan" in done.output and "Next: ./ia -K install, then ./ia -K plan" in done.output


def test_init_writes_an_inventory_whose_plan_is_refused(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_STATUS", "2")
    monkeypatch.setenv("STAND_IN_OUTPUT", "TASK [ia_homelab.llamafactory.finetune : Plan] ***\nDeclare template")
    done = init(front)
    assert (
        done.exit_code == 0 and "Declare template" in done.output and "what to change in the inventory" in done.output
    )
    assert front.root.joinpath("inventory/mine/hosts.yml").exists()


def test_init_overwrites_no_inventory(front: Front) -> None:
    front.declare("one")
    done = init(front)
    assert done.exit_code == 2 and "exists already" in done.output
    assert front.calls() == []


def test_the_document_shows_commands_that_exist(front: Front) -> None:
    """The test of ``docs/getting-started.md`` between two machines runs them; this one runs with every change."""
    front.declare("homelab-model")
    shown = [shlex.split(shown.command)[1:] for shown in commands(GUIDE) if shown.command.startswith("./ia ")]
    assert len(shown) > 10
    for arguments in shown:
        if arguments[0] != "init":
            done = front.run(*arguments, input="Who are you?\n\n")
            assert done.exit_code == 0, (arguments, done.output)
    explained = set(re.findall(r"^\| `\./ia (\w+)", GUIDE.read_text(encoding="utf-8"), re.MULTILINE))
    assert explained == set(front.module.main.commands)


def test_it_stays_a_thin_front() -> None:
    """It calls the playbooks; what it would decide itself, they would not know."""
    lines = (ROOT / "playbooks/files/ia.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 300
    assert not [line for line in lines if "ansible_collections" in line], "it uses no code of the collection"
