# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``docs/getting-started.md``, step by step, between two machines: the desk of a new user, and a PC IA with systemd.

Both come fresh from the packages of Debian 12; the user types the commands of the document into a terminal, and answers
what they ask. Two things differ: the tools are those of the tests, because theirs would take an hour to build,
and the base is a tiny one. ``molecule/provision`` installs what a user installs.
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOST_IMAGE = ROOT / "molecule" / "shared" / "host_image.sh"
PASSWORD = "the password of ia"
QUESTION = "Comment ajouter un film à Overseerr ?"
PC, DESK = "ia-homelab-test-start-pc", "ia-homelab-test-start-desk"
#: What asks for the password of sudo.
SUDO = (r"BECOME password: ?", PASSWORD)

Answers = t.Sequence[tuple[str, str]]


def docker(*arguments: str, text: str | bytes | None = None) -> str:
    data = text.encode() if isinstance(text, str) else text
    done = subprocess.run(["docker", *arguments], input=data, capture_output=True, check=False)
    assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout.decode().strip()


class Typed(t.NamedTuple):
    """What a command ended with, and what it printed."""

    status: int
    output: str

    def well(self) -> str:
        """The output, if the command succeeded."""
        assert self.status == 0, self.output[-6000:]
        return self.output


class Desk:
    """The terminal of an ordinary user, in a clone."""

    def type(
        self, command: str, answers: Answers = (), directory: str = "llamafactory", seconds: float = 1800
    ) -> Typed:
        """Run a command in a terminal, and answer what it asks, in this order.

        :param answers: a pattern of what is printed last, and what is typed then.
        """
        inside = [
            "docker", "exec", "--interactive", "--tty", "--user", "me", "--env", "HOME=/home/me",
            "--env", "PATH=/usr/local/bin:/usr/bin:/bin", "--env", "ANSIBLE_NOCOLOR=1",
            "--workdir", f"/home/me/{directory}", DESK, "bash", "-c", command,
        ]  # fmt: skip
        master, slave = pty.openpty()
        with subprocess.Popen(inside, stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as process:
            os.close(slave)
            output, answered, waiting, end = "", 0, list(answers), time.monotonic() + seconds
            while True:
                assert time.monotonic() < end, f"{command}: not ended, or not asked {waiting[:1]}:\n{output[-3000:]}"
                if select.select([master], [], [], 1)[0]:
                    try:
                        output += os.read(master, 65536).decode(errors="replace")
                    except OSError:  # the terminal is closed
                        break
                elif process.poll() is not None:
                    break
                found = re.search(waiting[0][0], output[answered:]) if waiting else None
                if found:
                    answered = len(output)
                    os.write(master, waiting.pop(0)[1].encode() + b"\n")
            os.close(master)
        text = output.replace("\r\n", "\n")
        print(f"\n$ {command}\n{text}")
        assert not waiting, f"{command} did not ask {waiting[0][0]!r}:\n{text[-3000:]}"
        return Typed(process.returncode, text)

    def ia(self, command: str, seconds: float = 1800) -> str:
        """A command of ``./ia`` that asks for the password of sudo."""
        return self.type(f"./ia -K {command}", [SUDO], seconds=seconds).well()


def start(name: str, *arguments: str) -> None:
    """Start a machine as it comes from an installation."""
    made = subprocess.run([HOST_IMAGE, "debian12"], stdout=subprocess.PIPE, text=True, check=True)
    subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)
    docker(
        "run", "--detach", "--name", name, "--hostname", name, "--privileged", "--cgroupns", "private",
        "--tmpfs", "/run", "--tmpfs", "/run/lock", "--label", "ia_homelab.test=start", *arguments, made.stdout.strip(),
    )  # fmt: skip
    end = time.monotonic() + 120
    while subprocess.run(
        ["docker", "exec", name, "systemctl", "list-units"], capture_output=True, check=False
    ).returncode:
        assert time.monotonic() < end, docker("logs", name)
        time.sleep(0.5)


def in_the_pc(script: str) -> str:
    """Run a script as root of the PC."""
    return docker("exec", PC, "bash", "-ec", script)


def install_the_pc() -> None:
    """Its user with a password, who may use sudo; and the tools of the tests in a layer that may be written."""
    tools = os.environ["IA_TOOLS_DIR"]
    in_the_pc(
        "useradd --create-home --shell /bin/bash --groups sudo ia; "
        f"echo 'ia:{PASSWORD}' | chpasswd; "
        f"mkdir -p /run/layer/upper /run/layer/work '{tools}'; "
        f"mount -t overlay overlay -o lowerdir=/srv/tools,upperdir=/run/layer/upper,workdir=/run/layer/work '{tools}'; "
        # where the tests keep them is nobody's business but root's
        f"chmod a+x $(path='{tools}'; while [ $path != / ]; do echo $path; path=$(dirname $path); done)"
    )


@pytest.fixture(scope="module")
def desk() -> t.Iterator[Desk]:
    tools, base = os.environ["IA_TOOLS_DIR"], os.environ["IA_TINY_BASE"]
    try:
        start(PC, "--volume", f"{tools}:/srv/tools:ro", "--volume", f"{base}:/srv/tiny-base:ro")
        start(DESK)
        install_the_pc()
        address = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", PC)
        docker("exec", DESK, "bash", "-c", f"echo '{address} pc-ia.lan' >>/etc/hosts")
        # the table of what is needed
        docker("exec", DESK, "bash", "-ec", "apt-get update -q; apt-get install -yq python3-venv git openssh-client")
        docker("exec", DESK, "useradd", "--create-home", "--shell", "/bin/bash", "me")
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        archive = subprocess.run(
            ["tar", "-c", "--null", "--no-recursion", "--ignore-failed-read", "-C", str(ROOT), "-T", "-"],
            input=listed, check=True, capture_output=True,
        ).stdout  # fmt: skip
        docker(
            "exec", "--interactive", "--user", "me", DESK, "sh", "-c",
            "mkdir /home/me/llamafactory && tar -x -C /home/me/llamafactory", text=archive,
        )  # fmt: skip
        yield Desk()
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", PC, DESK], capture_output=True, check=False)


@pytest.mark.full
@pytest.mark.timeout(5400)
def test_from_an_empty_pc_to_the_first_answer(desk: Desk) -> None:
    # 1. Reach the PC with a key
    desk.type("ssh-keygen -t ed25519", [("save the key", ""), ("passphrase", ""), ("again", "")]).well()
    copied = desk.type("ssh-copy-id ia@pc-ia.lan", [(r"yes/no", "yes"), (r"password: ?", PASSWORD)]).well()
    assert "Number of key(s) added: 1" in copied
    desk.type("ssh ia@pc-ia.lan true").well()

    # 2. and 3. The prompts, and the inventory
    desk.type("cp playbooks/files/homelab_prompts.json prompts.json").well()
    told: Answers = [
        ("localhost for this machine.*: ", "pc-ia.lan"), ("Base model.*: ", "/srv/tiny-base"),
        ("prompts: ", "prompts.json"), ("Name of your model.*: ", ""), ("Your user there.*: ", "ia"),
    ]  # fmt: skip
    refused = desk.type("./ia init", told)
    assert refused.status == 1 and "run ./ia -K init" in refused.output
    written = desk.type("./ia -K init", [*told, SUDO]).well()
    assert "The PC answers." in written and "Written: /home/me/llamafactory/inventory/mine" in written
    assert "Declare template: the format that the model was trained with." in " ".join(written.split())
    variables = "inventory/mine/group_vars/pc_ia/main.yml"
    desk.type(f"sed -i 's/^    method: auto/    template: qwen\\n&/' {variables}").well()
    # not in the document: tools that are there already
    desk.type(f"echo 'llamafactory_tools_dir: {os.environ['IA_TOOLS_DIR']}' >>{variables}; cat {variables}").well()

    # 4. Install the tools, once
    assert "/login" in desk.ia("install"), "it ends with a link to the page"
    assert re.search(r"pc-ia +: .* changed=0 ", desk.ia("install")), "a second call changes nothing"

    # 5. Train
    assert "homelab-model: 6 of 6 steps would run" in desk.ia("plan")
    applied = desk.ia("apply")
    assert "ollama run homelab-model:latest" in applied and "The page: http://" in applied

    # 6. Ask the model
    assert desk.ia(f"chat homelab-model '{QUESTION}'").strip()
    desk.type(f"ssh ia@pc-ia.lan ollama run homelab-model '\"{QUESTION}\"' </dev/null").well()
    assert re.search(r"http://\S+/login\S+", desk.ia("page"))
    tunnel = 'ssh -f -L 8000:127.0.0.1:8000 ia@pc-ia.lan sleep 20 >/dev/null && python3 -c "{}"'
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/login').status)"
    assert "200" in desk.type(tunnel.format(ask)).well()

    # 7. Copy the adapter or the model
    shown = desk.ia("status homelab-model")
    trained = re.search(r"^ +train +([0-9a-f]{12})", shown, re.MULTILINE)
    gguf = re.search(r"^ +gguf +([0-9a-f]{12})", shown, re.MULTILINE)
    assert trained and gguf, shown
    desk.type(f"scp -r 'ia@pc-ia.lan:/data/llamafactory/outputs/adapters/{trained.group(1)}*' .").well()
    desk.type(f"scp 'ia@pc-ia.lan:/data/llamafactory/models/gguf/{gguf.group(1)}*/model.gguf' .").well()
    assert "adapter_model.safetensors" in desk.type(f"ls {trained.group(1)}*").well()
    desk.type("sed -i 's/quantization: q4_K_M/export: adapter/' " + variables).well()
    desk.ia("apply")
    exported = re.search(r"^ +gguf_adapter +([0-9a-f]{12})", desk.ia("status homelab-model"), re.MULTILINE)
    assert exported
    desk.type(f"scp 'ia@pc-ia.lan:/data/llamafactory/models/gguf_adapters/{exported.group(1)}*/adapter.gguf' .").well()

    # Documentation of the modules
    documented = [
        "PATH=$(ls -dt ~/.local/share/ia-homelab/tools/controller-*/bin | head -n 1):$PATH",
        "ansible-galaxy collection build ~/llamafactory --output-path /tmp",
        "ansible-galaxy collection install /tmp/ia_homelab-llamafactory-*.tar.gz",
        "ansible-doc ia_homelab.llamafactory.job",
    ]
    assert "ia_homelab.llamafactory.job" in desk.type(" && ".join(documented), directory=".").well()
