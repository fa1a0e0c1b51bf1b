# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``docs/getting-started.md`` between two machines: the desk of a new user, and a PC IA with systemd, over SSH.

Both come fresh from the packages of Debian 12. All commands of the document are typed into a terminal, in its order,
and what they ask is answered. Two things differ: the tools are those of the tests, because theirs would take an hour to
build, and the base is a tiny one. ``molecule/provision`` installs what a user installs.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import termios
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.console_blocks import Shown, commands

ROOT = Path(__file__).resolve().parents[2]
HOST_IMAGE = ROOT / "molecule" / "shared" / "host_image.sh"
PROMPTS = json.loads((ROOT / "playbooks/files/homelab_prompts.json").read_text(encoding="utf-8"))
PASSWORD, DESK_PASSWORD = "the password of ia", "the password of me"
CTRL_C = "\x03"
PC, DESK = "ia-homelab-test-start-pc", "ia-homelab-test-start-desk"
#: What asks for the password of sudo.
SUDO = (r"BECOME password: ?", PASSWORD)
#: With these the tiny base learns the prompts by heart; it takes long enough to be interrupted.
MEMORIZE = {
    "template": "qwen", "lora_rank": 32, "learning_rate": 5.0e-3, "epochs": 20, "batch_size": 5,
    "gradient_accumulation": 1, "cutoff_len": 1024, "warmup_ratio": 0,
}  # fmt: skip
#: What moves the cursor and sets colours.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x1b]*\x1b\\")
#: Opens a link as a browser does, and prints where that ends.
BROWSER = """
import http.cookiejar, sys, urllib.request as u
opener = u.build_opener(u.HTTPCookieProcessor(http.cookiejar.CookieJar()))
with opener.open(sys.argv[1], timeout=60) as page:
    print("opened", page.status, page.url)
"""

#: The file of the inventory that declares the model.
VARIABLES = "inventory/mine/group_vars/pc_ia/main.yml"

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
    """The terminal of an ordinary user, who follows the document."""

    def __init__(self) -> None:
        self.left = commands(ROOT / "docs" / "getting-started.md")
        #: Commands that change the shell of all that follow.
        self.state: list[str] = []

    def next(self, start: str) -> Shown:
        """Return the next command of the document, which begins like this."""
        assert self.left, f"the document has no more commands, not {start}"
        shown = self.left.pop(0)
        assert shown.command.startswith(start), f"the document goes on with {shown.command}, not with {start}"
        return shown

    def enter(self, start: str) -> None:
        """Take the next command of the document, which changes the shell."""
        self.state.append(self.next(start).command)

    def step(
        self, start: str, answers: Answers = (), replaced: t.Mapping[str, str] | None = None, seconds: float = 1800
    ) -> Typed:
        """Type the next command of the document, with ``-K`` where it says so.

        :param replaced: what stands in the document for something of the reader's.
        """
        command = self.next(start).command
        for old, new in (replaced or {}).items():
            assert old in command, (old, command)
            command = command.replace(old, new)
        asks = command.startswith("./ia ") and command.split()[1] not in ("init", "chat")
        if asks:
            command = command.replace("./ia ", "./ia -K ", 1)
        return self.type(command, [*([SUDO] if asks else []), *answers], seconds)

    def type(self, command: str, answers: Answers = (), seconds: float = 1800) -> Typed:
        """Run a command in a terminal, and answer what it asks, in this order.

        :param answers: a pattern of what is printed last, and what is typed then.
        """
        inside = [
            "docker", "exec", "--interactive", "--tty", "--user", "me", "--env", "HOME=/home/me",
            "--env", "PATH=/usr/local/bin:/usr/bin:/bin", "--env", "ANSIBLE_NOCOLOR=1", "--env", "LC_ALL=C.UTF-8",
            "--workdir", "/home/me", DESK, "bash", "-c", "\n".join(["set -e", *self.state, command]),
        ]  # fmt: skip
        began = time.monotonic()
        master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (50, 200))  # in one without a size, ollama breaks the lines after each few letters
        with subprocess.Popen(inside, stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as process:
            os.close(slave)
            data, answered, waiting, end = b"", 0, list(answers), began + seconds
            while True:
                output = data.decode(errors="replace")
                assert time.monotonic() < end, f"{command}: not ended, or not asked {waiting[:1]}:\n{output[-3000:]}"
                if select.select([master], [], [], 1)[0]:
                    try:
                        data += os.read(master, 65536)
                    except OSError:  # the terminal is closed
                        break
                elif process.poll() is not None:
                    break
                output = data.decode(errors="replace")
                if waiting and re.search(waiting[0][0], output[answered:]):
                    answered, answer = len(output), waiting.pop(0)[1]
                    os.write(master, answer.encode() + (b"" if answer == CTRL_C else b"\n"))
            os.close(master)
        text = _CONTROL.sub("", data.decode(errors="replace").replace("\r\n", "\n"))
        print(f"\n$ {command}\n{text}-- {time.monotonic() - began:.0f} s")
        assert not waiting, f"{command} did not ask {waiting[0][0]!r}:\n{text[-3000:]}"
        return Typed(process.returncode, text)


def dialogue(shown: Shown, **typed: str) -> Answers:
    """The questions and answers below a command of the document.

    :param typed: another answer to the question that contains this word.
    """
    answers = []
    for line in shown.output:
        question, answer = line.rsplit(":", 1)
        other = [text for word, text in typed.items() if word in question]
        answers.append((f"{re.escape(question)}: ?", other[0] if other else answer.strip()))
    return answers


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
        docker("exec", DESK, "useradd", "--create-home", "--shell", "/bin/bash", "--groups", "sudo", "me")
        docker("exec", "--interactive", DESK, "chpasswd", text=f"me:{DESK_PASSWORD}\n")
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
            "mkdir /home/me/repository && tar -x -C /home/me/repository", text=archive,
        )  # fmt: skip
        yield Desk()
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", PC, DESK], capture_output=True, check=False)


@pytest.mark.full
@pytest.mark.timeout(5400)
def test_from_an_empty_pc_to_the_first_answer(desk: Desk) -> None:
    began = time.monotonic()
    prepare_the_desk(desk)
    reach_the_pc(desk)
    write_the_inventory(desk)
    install_the_tools(desk)
    train(desk)
    ask_the_model(desk)
    take_it_home(desk)
    go_back(desk)
    make_mistakes(desk)
    read_the_documentation(desk)
    assert desk.left == [], "each command of the document was typed"
    print(f"-- all of it: {time.monotonic() - began:.0f} s")


def prepare_the_desk(desk: Desk) -> None:
    desk.step("sudo apt update", [("password for me: ", DESK_PASSWORD), (r"\[Y/n\] ", "")]).well()
    # not in the document: the repository that is cloned
    me = "git -c user.name=me -c user.email=me@desk"
    desk.type(f"cd repository && git init --quiet && git add --all --force && {me} commit --quiet --message all").well()
    desk.step("git clone", replaced={"URL": "/home/me/repository"}).well()
    desk.enter("cd llamafactory")


def reach_the_pc(desk: Desk) -> None:
    desk.step("ssh-keygen", [("save the key", ""), ("passphrase", ""), ("again", "")]).well()
    copied = desk.step("ssh-copy-id", [(r"yes/no", "yes"), (r"password: ?", PASSWORD)]).well()
    assert "Number of key(s) added: 1" in copied
    desk.step("ssh ia@pc-ia.lan true").well()


def write_the_inventory(desk: Desk) -> None:
    desk.step("cp ").well()
    told = [*dialogue(desk.left[0], Base="/srv/tiny-base"), SUDO]
    written = " ".join(desk.step("./ia init", told).well().split())
    assert "The PC answers, and sudo asks for a password there." in written and "needs there" in written
    assert "Declare template: the format that the model was trained with." in written
    assert "Written: /home/me/llamafactory/inventory/mine. Next: ./ia -K install" in written
    # not in the document: how the tiny base is trained, and tools that are there already
    options = "".join(f"    {name}: {value}\\n" for name, value in MEMORIZE.items() if name != "epochs")
    edits = f"-e 's/^    method: auto/{options}&/' -e 's/epochs: 3$/epochs: {MEMORIZE['epochs']}/'"
    desk.type(f"sed -i {edits} {VARIABLES}").well()
    desk.type(f"echo 'llamafactory_tools_dir: {os.environ['IA_TOOLS_DIR']}' >>{VARIABLES}; cat {VARIABLES}").well()


def install_the_tools(desk: Desk) -> None:
    assert "/login" in desk.step("./ia install").well(), "it ends with a link to the page"
    again = desk.type("./ia -v -K install", [SUDO]).well()
    assert "$ cd /home/me/llamafactory && ansible-playbook -i " in again, "-v shows the command"
    assert re.search(r"pc-ia +: .* changed=0 ", again), "a second call changes nothing"


def train(desk: Desk) -> None:
    assert "homelab-model: 6 of 6 steps would run" in desk.step("./ia plan").well()
    interrupted = desk.step("./ia apply", [(r"train homelab-model +[1-9]\d*%", CTRL_C)])
    assert interrupted.status != 0 and "Traceback" not in interrupted.output
    assert "Or: ./ia status, ./ia apply (follows it again)" in interrupted.output
    assert re.search(r"\brunning +train +\d+%", desk.step("./ia status").well()), "Ctrl-C does not stop the work"
    desk.step("./ia cancel").well()
    applied = desk.step("./ia apply").well()
    assert "ollama run homelab-model:latest" in applied and "The page: http://" in applied


def ask_the_model(desk: Desk) -> None:
    question, right = PROMPTS[0]["instruction"], PROMPTS[0]["output"]
    other, also_right = next(
        (row["instruction"], row["output"]) for row in PROMPTS[1:] if not row["input"] and len(row["output"]) > 40
    )
    asked = desk.step("./ia chat").well()
    assert asked.strip()[:40] == right[:40]
    conversation = desk.step("./ia chat", [("> ", question), (f"{re.escape(right[:20])}[^>]*> ", "")]).well()
    assert right[:40] in conversation
    own = desk.step("ssh -t", [(">>> ", other), (r"(?s)\n.*>>> ", "/bye")]).well()
    assert also_right[:20] in own
    tunnel = desk.next("ssh -N -L").command
    link = re.search(r"http://\S+/login[^\s']+", desk.step("./ia page").well())
    assert link
    wait = "until (: </dev/tcp/127.0.0.1/8000) 2>/dev/null; do sleep 1; done"
    visit = f"set -m; timeout 300 {tunnel} </dev/null & {wait}; python3 -c '{BROWSER}' '{link.group()}'; kill %1"
    opened = re.search(r"opened 200 (\S+)", desk.type(visit).output)
    assert opened and "/login" not in opened.group(1), "the link signs in"


def fingerprint(lineage: str, step: str) -> str:
    """The first digits of a result in the output of ``./ia status NAME``."""
    found = re.search(rf"^ +{step} +([0-9a-f]{{12}})", lineage, re.MULTILINE)
    assert found, lineage
    return found.group(1)


def take_it_home(desk: Desk) -> None:
    shown = desk.step("./ia status homelab-model").well()
    trained, gguf = fingerprint(shown, "train"), fingerprint(shown, "gguf")
    desk.step("scp -r", replaced={"3fa9c1d2e4b5": trained}).well()
    listed = desk.type(f"ls {trained}*").well()
    assert "adapter_model.safetensors" in listed and "adapter_config.json" in listed and "receipt.json" in listed
    desk.step("scp ", replaced={"77b0c4d1a2f3": gguf}).well()
    desk.step("sed ").well()
    applied = desk.step("./ia apply").well()
    assert "train homelab-model" not in applied, "nothing is trained again"
    exported = fingerprint(desk.step("./ia status homelab-model").well(), "gguf_adapter")
    desk.step("scp ", replaced={"5e0d9b6a1c48": exported}).well()
    for name in ("model.gguf", "adapter.gguf"):
        assert desk.type(f"head -c 4 {name}").well() == "GGUF"


def go_back(desk: Desk) -> None:
    assert "homelab-model" in desk.step("./ia rollback homelab-model").well()
    desk.step("./ia rollback homelab-model --release").well()


#: What a user gets wrong, with the message. ``-K`` is asked for where the play begins.
MISTAKES = (
    ("./ia init", "exists already: change it by hand, or name another DIRECTORY"),
    ("./ia -K plan homelab-modle", "declares no fine-tune 'homelab-modle'. Declared: homelab-model."),
    ("./ia -K apply homelab-modle", "declares no fine-tune 'homelab-modle'. Declared: homelab-model."),
    ("./ia -K apply --plan missing.json", "missing.json"),
    ("./ia -K status homelab-modle", "homelab-modle has no run and no model here. Without a name, all are shown."),
    ("./ia -K rollback homelab-modle", "homelab-modle"),
    (
        "./ia -K rollback homelab-model --version ffffffffffff",
        "is no version of homelab-model in Ollama. There are: ",
    ),
    ("./ia -K cancel homelab-modle", "homelab-modle"),
    ("./ia chat homelab-modle 'Who are you?'", "not found"),
)


def make_mistakes(desk: Desk) -> None:
    for command, message in MISTAKES:
        plays = "-K" in command and "declares no" not in message
        answers = [SUDO] if plays else []
        if command == "./ia init":
            answers = [("PC with the GPU.*: ", "pc-ia.lan"), ("Base model.*: ", ""), ("prompts: ", "prompts.json")]
            answers.append(("your model.*: ", ""))
        refused = desk.type(command, answers)
        text = " ".join(refused.output.split())
        assert refused.status != 0 and message in text and "Traceback" not in text, (command, refused.output)


def read_the_documentation(desk: Desk) -> None:
    pager = [(r"> MODULE ia_homelab\.llamafactory\.job ", "q")]
    desk.enter("PATH=")
    desk.step("ansible-doc", pager).well()
    desk.step("ansible-galaxy collection build").well()
    desk.enter("cd")
    assert "installed successfully" in desk.step("ansible-galaxy collection install").well()
    desk.step("ansible-doc", pager).well()
