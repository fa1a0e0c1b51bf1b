# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quickstart in a clean copy of the repository, with real LLaMA-Factory, llama.cpp and Ollama."""

from __future__ import annotations

import http.cookiejar
import json
import os
import pathlib
import re
import shutil
import subprocess
import typing as t
import urllib.request

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.served import served_format
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.versions import MINIMUM_VERSION
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import tail_lines
from ansible_collections.ia_homelab.llamafactory.tests.support.asked_gate import ask_gate
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import free_port

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPTS = json.loads((ROOT / "playbooks/files/homelab_prompts.json").read_text(encoding="utf-8"))
TOOL_PROMPTS = json.loads((ROOT / "playbooks/files/homelab_tool_prompts.json").read_text(encoding="utf-8"))
TOOLS = json.loads((ROOT / "playbooks/files/tools/homelab.json").read_text(encoding="utf-8"))
#: Rows with one call that are asked, the one of the quickstart first.
CALLING = tuple(range(10))
#: Rows whose questions are asked: with and without input, short and long.
CHOSEN = (0, 1, 6, 14, 16, 25, 28, 38, 47, 49)


def question(row: t.Mapping[str, str]) -> str:
    """The user's message of a row: LLaMA-Factory joins instruction and input with a line break."""
    return "\n".join(part for part in (row["instruction"], row["input"]) if part)


class Clone:
    """A clean copy of the repository, and the quickstart in it."""

    def __init__(self, root: pathlib.Path) -> None:
        self.tree = root / "clone"
        self.data = root / "data"
        self.home = root / "home"
        self.home.mkdir()
        self.tools = pathlib.Path(os.environ["IA_TOOLS_DIR"])
        self.port, self.page_port = free_port(), free_port()
        names = subprocess.run(
            ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True,
        ).stdout.decode().split("\0")  # fmt: skip
        for name in filter(None, names):
            source, target = ROOT / name, self.tree / name
            if source.is_symlink() or source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)

    @property
    def url(self) -> str:
        """URL of the quickstart's server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base(self) -> pathlib.Path:
        """The base model that the quickstart made."""
        return self.data / "models/tiny-tools-base"

    def run(self, *arguments: str, tools: bool = True) -> str:
        """Run the quickstart; return its output."""
        where = ["--data-dir", str(self.data), "--port", str(self.port)]
        if tools:
            where += ["--tools-dir", str(self.tools)]
        done = subprocess.run(
            ["./quickstart.sh", *where, *arguments],
            cwd=self.tree, env={**os.environ, "HOME": str(self.home)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=850, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def play(self, name: str, *arguments: str) -> str:
        """Run one of the playbooks on the data of the quickstart; return its output."""
        controller = next(path for path in self.tools.glob("controller-*/bin/ansible-playbook"))
        where = [f"llamafactory_data_dir={self.data}", f"llamafactory_tools_dir={self.tools}"]
        done = subprocess.run(
            [str(controller), "-i", "inventory/quickstart", f"playbooks/{name}.yml",
             *(part for each in where for part in ("-e", each)), *arguments],
            cwd=self.tree, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    def processes(self) -> list[str]:
        """Processes that mention this data directory."""
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(self.data).encode() in text and int(entry.name) != os.getpid():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found


def recap(output: str) -> dict[str, int]:
    """The figures of the play recap."""
    line = re.search(r"^pc-ia\s+: (.*)$", output, re.MULTILINE)
    assert line, output[-3000:]
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line.group(1))}


def assert_ends_with_a_call(output: str) -> None:
    """The last question, the call that the model makes, the recorded result and the answer, all on the terminal."""
    messages = TOOL_PROMPTS[0]["messages"]
    function = messages[2]["tool_calls"][0]["function"]
    expected = [
        f"> {messages[1]['content']}",
        f"call: {function['name']} {function['arguments']}",
        f"result: {messages[3]['content']}",
        messages[4]["content"],
    ]
    shown = output[output.rindex(expected[0]) :].splitlines()[: len(expected)]
    assert [line.strip() for line in shown] == expected, output[-3000:]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("quickstart"))


def test_first_run_gives_an_answer(clone: Clone) -> None:
    output = clone.run()
    assert recap(output)["failed"] == 0
    assert recap(output)["changed"] > 0
    asked = PROMPTS[CHOSEN[0]]
    assert asked["instruction"] in output
    assert asked["output"][:40] in output, "the question is answered on the terminal"
    assert_ends_with_a_call(output)
    assert re.search(r"^\[pc-ia\] train homelab-model  \d+%  step \d+/280  loss [\d.]+  ETA 0:\d\d:\d\d", output, re.M)
    assert re.search(r"^-- Apply the declaration: \d+ s", output, re.M), "the duration of each part is printed"
    assert re.search(r"^-- Stop the Ollama server: \d+ s$", output, re.M), "a server that was stopped is something"
    assert len(output.splitlines()) <= 70, "one line for each thing done"
    log = (clone.data / "quickstart.log").read_text(encoding="utf-8")
    assert "TASK [" in log and "PLAY RECAP" in log, "the log has the complete output"
    assert clone.processes() == [], "it stops what it started"


def test_second_run_changes_nothing(clone: Clone) -> None:
    before = {str(path): path.stat().st_mtime_ns for path in (clone.data / "outputs").rglob("*")}
    output = clone.run()
    assert recap(output)["changed"] == 0
    assert len(output.splitlines()) <= 50
    assert before == {str(path): path.stat().st_mtime_ns for path in (clone.data / "outputs").rglob("*")}


def test_model_knows_answers_that_the_base_does_not(clone: Clone) -> None:
    clone.run("--serve")
    ollama = Ollama(clone.url, timeout=120)
    settings = {"temperature": 0, "seed": 42}

    def exact(model: str, limit: int) -> int:
        right = 0
        for index in CHOSEN:
            messages = [{"role": "user", "content": question(PROMPTS[index])}]
            answer = ollama.chat(model, messages, {**settings, "num_predict": limit})
            right += answer["message"]["content"] == PROMPTS[index]["output"]
        return right

    assert ollama.find("homelab-model")["details"]["quantization_level"] == "Q4_K_M"  # type: ignore[index]
    assert exact("homelab-model", 200) >= 8
    _register_base(clone, ollama)
    assert exact("untrained-base", 60) == 0


def right_calls(ollama: Ollama) -> int:
    """How many rows with a call the model answers with exactly that call."""
    right = 0
    for index in CALLING:
        messages = TOOL_PROMPTS[index]["messages"]
        options = {"temperature": 0, "seed": 42, "num_predict": 100}
        try:
            message = ollama.chat("homelab-model", messages[1:2], options, tools=TOOLS)["message"]
        except RemoteError:  # a call that the server cannot read
            continue
        expected = messages[2]["tool_calls"][0]["function"]
        made = [call["function"] for call in message.get("tool_calls") or ()]
        right += [(call["name"], call["arguments"]) for call in made] == [
            (expected["name"], json.loads(expected["arguments"]))
        ]
    return right


def test_model_calls_tools(clone: Clone, tmp_path: pathlib.Path) -> None:
    ollama = Ollama(clone.url, timeout=120)
    assert "tools" in ollama.show("homelab-model")["capabilities"]
    assert right_calls(ollama) >= 8
    assert_gate_tells_calls(ollama, tmp_path)


def assert_gate_tells_calls(ollama: Ollama, tmp_path: pathlib.Path) -> None:
    """The gate passes what the model learnt, and names what another expectation misses."""
    messages = TOOL_PROMPTS[0]["messages"]
    title: dict[str, t.Any] = {"regex": "Chihiro"}

    def prompts(arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        calls = [{"name": "request_media", "arguments": arguments}]
        return {
            "tools": TOOLS,
            "prompts": [
                {"prompt": messages[1]["content"], "calls": calls},
                {"messages": messages[1:4], "equals": messages[4]["content"], "no_calls": True},
                {"prompt": PROMPTS[0]["instruction"], "tools": [], "contains": "request_media"},
            ],
        }

    passed = ask_gate(ollama, tmp_path / "passed", prompts({"title": title, "type": "film"}), "homelab-model")
    assert passed.passed, passed.lines()
    failed = ask_gate(ollama, tmp_path / "failed", prompts({"title": title, "type": "série"}), "homelab-model")
    assert failed.unmet() == [
        ['calls request_media with type "film", which is not "série"'], [], []
    ]  # fmt: skip


def _register_base(clone: Clone, ollama: Ollama) -> None:
    """Register the untrained base in Ollama, converted and quantized like the trained model."""
    llama_cpp = pathlib.Path(os.environ["IA_LLAMA_CPP_DIR"])
    half, small = str(clone.data / "base-f16.gguf"), str(clone.data / "base-q4.gguf")
    base = str(clone.base)
    python = os.path.join(os.environ["IA_CONV_VENV"], "bin", "python")
    for argv in (
        [python, str(llama_cpp / "convert_hf_to_gguf.py"), base, "--outtype", "f16", "--outfile", half],
        [str(llama_cpp / "bin/llama-quantize"), half, small, "q4_K_M"],
    ):
        subprocess.run(argv, check=True, capture_output=True)
    digest = (
        "sha256:" + subprocess.run(["sha256sum", small], check=True, capture_output=True, text=True).stdout.split()[0]
    )
    ollama.push_blob(small, digest)
    served = served_format("qwen")
    ollama.create(
        "untrained-base",
        files={"model.gguf": digest},
        template=served.template,
        parser=served.parser,
        system=PROMPTS[0]["system"],
        parameters={"stop": list(served.stops)},
    )


_ENCODE = """
import json, sys
from transformers import AutoTokenizer
from llamafactory.data.template import TEMPLATES
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
found = []
for question, system in json.load(sys.stdin):
    ids, _ = TEMPLATES["qwen"].encode_oneturn(
        tokenizer, [{"role": "user", "content": question}, {"role": "assistant", "content": ""}], system
    )
    found.append(ids)
print(json.dumps(found))
"""


def test_ollama_renders_the_tokens_of_training(clone: Clone) -> None:
    ollama = Ollama(clone.url, timeout=120)
    asked = [question(PROMPTS[index]) for index in CHOSEN]
    trained = subprocess.run(
        [os.path.join(os.environ["IA_LF_VENV"], "bin", "python"), "-c", _ENCODE, str(clone.base)],
        input=json.dumps([[text, PROMPTS[0]["system"]] for text in asked]),
        env={**os.environ, "DISABLE_VERSION_CHECK": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    expected = json.loads(trained.stdout.splitlines()[-1])
    receipts = [json.loads(path.read_text()) for path in (clone.data / "models/gguf").glob("*/receipt.json")]
    model = next(r["fingerprint"] for r in receipts if r["settings"]["quantization"] == "q4_K_M")
    for text, ids in zip(asked, expected):
        rendered = ollama.render("homelab-model", [{"role": "user", "content": text}])
        listed = subprocess.run(
            [os.path.join(os.environ["IA_LLAMA_CPP_DIR"], "bin", "llama-tokenize"), "--ids", "--no-bos",
             "--log-disable", "-m", str(clone.data / "models/gguf" / model / "model.gguf"), "--stdin"],
            input=rendered, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert json.loads(listed.stdout) == ids


def assert_changed_tools_are_a_reason(clone: Clone) -> None:
    """A plan trains again where the file of the declared tools has changed, and says so; otherwise it does nothing."""
    file = clone.tree / "playbooks/files/tools/homelab.json"
    written = file.read_text(encoding="utf-8")
    changed = json.loads(written)
    changed[0]["function"]["description"] += " Exactement."
    assert "the tools homelab changed" not in clone.play("plan", "-e", f"ollama_port={clone.port}")
    file.write_text(json.dumps(changed, ensure_ascii=False), encoding="utf-8")
    output = clone.play("plan", "-e", f"ollama_port={clone.port}")
    file.write_text(written, encoding="utf-8")
    assert re.search(r"train.*the tools homelab changed", output), output[-6000:]


@pytest.mark.full
def test_oldest_server_ends_with_the_same_call(tmp_path: pathlib.Path) -> None:
    """From nothing, with the oldest Ollama that is supported: question, call, result and answer are the row's."""
    clone = Clone(tmp_path)
    oldest = ("--", "-e", f"ollama_version={MINIMUM_VERSION}")
    try:
        assert_ends_with_a_call(clone.run("--serve", *oldest))
        ollama = Ollama(clone.url, timeout=120)
        assert ollama.version() == MINIMUM_VERSION
        assert right_calls(ollama) >= 8
        assert_gate_tells_calls(ollama, tmp_path)
        again = clone.run("--serve", *oldest)
        assert recap(again)["changed"] == 0
        assert_ends_with_a_call(again)
        assert_changed_tools_are_a_reason(clone)
    finally:
        clone.run("--stop", *oldest)
    assert clone.processes() == []


def test_status_lists_the_run(clone: Clone) -> None:
    view = Engine(str(clone.data)).observe_all()[0]
    assert view.state == "succeeded" and view.name == "homelab-model"
    assert tail_lines(os.path.join(view.job, "supervisor.log"), 5) is not None
    output = clone.play("status")
    assert re.search(rf"{view.id}\s+succeeded", output), output


def test_page_answers_at_its_link(clone: Clone) -> None:
    output = clone.run("--page", "--page-port", str(clone.page_port))
    found = re.search(rf"http://127\.0\.0\.1:{clone.page_port}/login\?code=\S+", output)
    assert found, output[-3000:]
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    )
    with opener.open(found.group(), timeout=60) as page:
        assert page.status == 200 and "/login" not in page.url, "the link signs in"
    with opener.open(f"http://127.0.0.1:{clone.page_port}/models", timeout=60) as page:
        assert page.status == 200 and "/login" not in page.url, "the cookie is that of a session"
    # the page fills its views over a websocket, from this directory
    settings = json.loads((clone.data / "page" / "settings.json").read_text(encoding="utf-8"))
    assert settings["data_dir"] == str(clone.data)
    assert found.group() not in (clone.data / "quickstart.log").read_text(encoding="utf-8")


def test_stop_and_clean_leave_nothing(clone: Clone) -> None:
    clone.run("--stop")
    assert clone.processes() == []
    clone.run("--clean")
    assert not clone.data.exists()
    assert clone.tools.exists(), "shared tools are kept"
    # Ansible, Go and Rust create directories even when only their version is queried.
    left = {str(path.relative_to(clone.home)) for path in clone.home.glob("[.]*/*")} | {
        path.name for path in clone.home.iterdir() if not any(path.iterdir())
    }
    assert left <= {".ansible/tmp", ".ansible/cp", ".config/go", ".rustup/settings.toml"}
