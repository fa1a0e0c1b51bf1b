# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A conversation is the same in training and in Ollama: text and tokens, tools and thoughts included.

LLaMA-Factory renders and tokenizes 13 conversations with each of its templates, in a small vocabulary that has merges
for everything in them, also across messages. Ollama renders them with the generated TEMPLATE. A dozen templates, one
for each tool format and class, stand for all; every template is rendered and compared with ``IA_FULL``.

Needs ``IA_LF_VENV`` and ``IA_OLLAMA_BIN``; with ``IA_OLLAMA_OLD_BIN``, an older Ollama, everything is compared on both.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import struct
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats import (
    canonical,
    exactness,
    facts,
    proof,
    text_arguments,
    training_text,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.house_format import (
    HOUSE,
    TEMPLATE,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.probes import (
    PROBES,
    THOUGHT_PROBES,
    Probe,
    answer,
    calls,
    result,
    user,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.served import (
    ServedFormat,
    contains_bos,
    served_format,
    starts_with_bos,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import render_probes
from ansible_collections.ia_homelab.llamafactory.tests import template_snapshot
from ansible_collections.ia_homelab.llamafactory.tests.support.conversations import BOS, CONVERSATIONS, EOS, markers
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port
from ansible_collections.ia_homelab.llamafactory.tests.support.random_tools import random_arguments, random_tool

#: One template for each tool format that can be served, each class, and each way to write the system prompt.
DOZEN = (
    *("bailing_v2", "chatglm3", "deepseekr1", "gemma2", "glm4_7", "lfm2", "llama3", "minimax1", "minimax2", "mistral"),
    *("phi4_mini", "qwen", "qwen3", "qwen3_5", "seed_oss", "zephyr"),
)
#: Templates that are not exact, and are rendered for every change: one for each reason.
NOT_EXACT = ("breeze", "glm4_moe", "youtu", "alpaca", "openchat", "vicuna")
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'tool' %}<tool_response>{{ message.content }}</tool_response>"
    "{% elif message.tool_calls %}<tool_call>{{ message.tool_calls }}</tool_call>{% else %}<|im_start|>"
    "{{ message.role }}\n<think></think>{{ message.content }}<|im_end|>\n{% endif %}{% endfor %}{{ tools }}"
)
#: Arguments, and whether they change how LLaMA-Factory renders a conversation with thoughts and calls.
VARIANTS: tuple[tuple[str, dict[str, t.Any], bool], ...] = (
    ("qwen3", {"mask_history": True}, True),
    ("qwen3", {"mask_history": True, "preserve_thinking": True}, False),
    ("qwen3", {"preserve_thinking": True}, False),
    ("qwen3", {"train_on_prompt": True}, False),
    ("qwen3", {"tool_format": "llama3"}, True),
    ("qwen", {"mask_history": True}, False),
    ("qwen", {"default_system": "Tu es bref."}, True),
)
ALL = {probe.name: probe for probe in (*CONVERSATIONS, *THOUGHT_PROBES)}


def cases(names: t.Iterable[str]) -> list[tuple[str, bool]]:
    """Templates with enable_thinking true, and also false where that has an effect."""
    found = []
    for name in names:
        found += [(name, True), (name, False)] if facts.facts_of(name).reasoning else [(name, True)]
    return found


def conversations(name: str) -> tuple[Probe, ...]:
    """The conversations of a template."""
    return CONVERSATIONS + (THOUGHT_PROBES if facts.facts_of(name).reasoning else ())


@dataclasses.dataclass(frozen=True)
class Trained:
    """LLaMA-Factory's texts, its vocabulary and its templates; ``results`` by name and enable_thinking, ``house`` the
    same in the house format.
    """

    results: dict[tuple[str, bool], dict[str, t.Any]]
    house: dict[tuple[str, bool], dict[str, t.Any]]
    tokens: list[str]
    merges: list[str]
    registry: dict[str, t.Any]
    variants: list[dict[str, t.Any]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """All conversations as LLaMA-Factory renders them."""
    path = tmp_path_factory.mktemp("texts") / "answer.json"
    every = cases(facts.names() if os.environ.get("IA_FULL") else (*DOZEN, *NOT_EXACT))
    requests = [
        {
            "template": name,
            "arguments": arguments,
            "probes": [probe.training_form(name, EOS, BOS, tool_format) for probe in conversations(name)],
        }
        for name, arguments, tool_format in [
            *((name, {"enable_thinking": thinking}, TEMPLATE) for name, thinking in every),
            *((name, {"enable_thinking": thinking}, HOUSE) for name, thinking in every),
            *((name, arguments, TEMPLATE) for name, arguments, _changes in VARIANTS),
        ]
    ]
    subprocess.run(
        [
            os.path.join(os.environ["IA_LF_VENV"], "bin", "python"),
            str(Path(__file__).with_name("chat_format_texts.py")),
            os.path.dirname(str(render_probes.__file__)),
            str(path),
        ],
        input=json.dumps({"special": markers(), "corpus": [], "requests": requests}).encode(),
        env={**os.environ, "DISABLE_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=300,
    )
    found = json.loads(path.read_bytes())
    results = found["results"]
    return Trained(
        results=dict(zip(every, results)),
        tokens=found["tokens"],
        merges=found["merges"],
        registry=found["registry"],
        house=dict(zip(every, results[len(every) :])),
        variants=results[2 * len(every) :],
    )


@dataclasses.dataclass(frozen=True)
class Serving:
    """A server, and the digests of its GGUF files: with BOS added by the server, and without."""

    ollama: Ollama
    digests: dict[bool, str]
    gguf: Path


@pytest.fixture(
    scope="module", params=[name for name in ("IA_OLLAMA_BIN", "IA_OLLAMA_OLD_BIN") if os.environ.get(name)]
)
def serving(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make: t.Any, trained: Trained
) -> t.Iterator[Serving]:
    """The servers that a model has to be the same on."""
    folder = tmp_path_factory.mktemp("serving")
    server = Server(os.environ[request.param], folder, free_port())
    server.start()
    try:
        ollama = Ollama(server.url, slow_timeout=120)
        digests = {}
        for add_bos in (True, False):
            path = folder / f"{add_bos}.gguf"
            make.model(path, trained.tokens, trained.merges, len(markers()), add_bos)
            digests[add_bos] = push(ollama, path)
        yield Serving(ollama, digests, folder / "False.gguf")
    finally:
        server.stop()


def push(ollama: Ollama, path: Path) -> str:
    """Upload a file; returns its digest."""
    digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    ollama.push_blob(str(path), digest)
    return digest


def create(ollama: Ollama, model: str, digest: str, served: ServedFormat) -> None:
    """Register a model as the step does."""
    ollama.create(
        model,
        files={"model.gguf": digest},
        template=served.template,
        parser=served.parser,
        parameters={"stop": list(served.stops)},
    )


def differences(
    serving: Serving, trained: Trained, name: str, thinking: bool, by_server: bool, tool_format: str = TEMPLATE
) -> list[str]:
    """What the server renders otherwise than training; conversations that LLaMA-Factory cannot render are left out."""
    said = (trained.house if tool_format == HOUSE else trained.results)[name, thinking]
    bos = BOS if contains_bos(name) or (starts_with_bos(name) and not by_server) else ""
    served = served_format(name, enable_thinking=thinking, eos=EOS, bos=bos, date=said["date"], tool_format=tool_format)
    model = f"{name}-{thinking}-{by_server}-{tool_format}".lower()
    create(serving.ollama, model, serving.digests[by_server], served)
    found = []
    for title, expected in said["probes"].items():
        if "error" not in expected:
            request = ALL[title].request()
            rendered = serving.ollama.render(model, request.pop("messages"), **request)
            found.append(proof.compare(title, expected, rendered, server_bos=BOS if by_server else ""))
    assert found
    return [str(each) for each in found if each]


@pytest.mark.parametrize(("name", "thinking"), cases(DOZEN))
def test_text_and_tokens(serving: Serving, trained: Trained, name: str, thinking: bool) -> None:
    """Whether the server or the template adds BOS: the same text, and the same tokens."""
    for by_server in (True, False) if name in ("llama3", "mistral") else (False,):
        assert differences(serving, trained, name, thinking, by_server) == []
        said = trained.results[name, thinking]["probes"]["call, result, answer"]
        request = ALL["call, result, answer"].request()
        model, options = f"{name}-{thinking}-{by_server}-{TEMPLATE}".lower(), {"temperature": 0, "num_predict": 1}
        asked = serving.ollama.chat(model, request.pop("messages"), options, **request)
        assert asked["prompt_eval_count"] == len(said["ids"])


@pytest.mark.parametrize(("name", "thinking"), cases(DOZEN))
def test_text_and_tokens_in_the_house_format(serving: Serving, trained: Trained, name: str, thinking: bool) -> None:
    """Every conversation can be rendered, text before a call and several calls included, and none has a seam."""
    assert differences(serving, trained, name, thinking, False, HOUSE) == []
    said = trained.house[name, thinking]["probes"]
    assert all(probe["whole"] for probe in said.values()), name
    for title in ("parallel calls", "text before a call"):
        request = ALL[title].request()
        model, options = f"{name}-{thinking}-False-{HOUSE}".lower(), {"temperature": 0, "num_predict": 1}
        asked = serving.ollama.chat(model, request.pop("messages"), options, **request)
        assert asked["prompt_eval_count"] == len(said[title]["ids"])
    assert "tools" in serving.ollama.show(model)["capabilities"]


@pytest.mark.full
@pytest.mark.parametrize("tool_format", [TEMPLATE, HOUSE])
@pytest.mark.parametrize(("name", "thinking"), cases(name for name in exactness.servable() if name not in DOZEN))
def test_text_of_every_template(
    serving: Serving, trained: Trained, name: str, thinking: bool, tool_format: str
) -> None:
    assert differences(serving, trained, name, thinking, False, tool_format) == []


def test_the_dozen_has_every_tool_format_and_class() -> None:
    def kinds(names: t.Iterable[str]) -> set[tuple[str, ...]]:
        every = [facts.facts_of(name) for name in names]
        return {("calls", each.calls) for each in every} | {("class", each.kind) for each in every}

    assert kinds(DOZEN) == kinds(exactness.servable()) - {("calls", "GLM4MOEToolUtils")} | {
        ("calls", facts.facts_of("glm4_7").calls)
    }


def test_text_from_the_facts_is_that_of_llamafactory(trained: Trained) -> None:
    """The text with which a base's own chat template is compared when a run is planned."""
    compared = 0
    for (name, thinking), found in trained.results.items():
        for probe in CONVERSATIONS if thinking else ():
            rendered = found["probes"][probe.name]
            said = [(message["role"], message["content"]) for message in probe.messages]
            plain = all(role in ("system", "user", "assistant") for role, _content in said)
            calls = any(message.get("tool_calls") for message in probe.messages)
            if probe.tools or probe.continued or calls or not plain or "text" not in rendered:
                continue
            system = "".join(content for role, content in said if role == "system")
            turns = [content for role, content in said if role != "system"]
            assert training_text.prompt_text(name, turns, system, EOS, BOS) == rendered["text"], (name, probe.name)
            compared += 1
    assert compared > 2 * len(DOZEN)


def test_the_snapshot_is_what_llamafactory_registers(trained: Trained) -> None:
    assert template_snapshot.source(trained.registry) == template_snapshot.SNAPSHOT.read_text("ascii")


@pytest.mark.parametrize("level", [exactness.EXACT, exactness.SINGLE_TURN, exactness.INEXACT])
def test_exactness(trained: Trained, level: str) -> None:
    """The tokens of the messages are those of the whole text in an exact template, and not in the others."""
    single = {probe.name for probe in PROBES if probe.turns == 1 and not probe.continued}
    # in this vocabulary the markers of Llama 2 are single tokens, and in that of its models they are not
    assumed = ("llama2", "llama2_zh")
    checked = 0
    for (name, _thinking), said in trained.results.items():
        if exactness.exactness_of(name).level != level or name in assumed:
            continue
        checked += 1
        probes = {title: probe["whole"] for title, probe in said["probes"].items() if "whole" in probe}
        alone = [whole for title, whole in probes.items() if title in single]
        if level == exactness.EXACT:
            assert all(probes.values()), name
        elif level == exactness.SINGLE_TURN:
            assert all(alone) and not all(probes.values()), name
        else:
            assert not all(alone), name
    assert checked >= 3


def test_what_llamafactory_cannot_render(trained: Trained) -> None:
    """Text beside a call in a fused template, and several calls in the format of GLM-4; the probes leave those out."""
    for (name, thinking), said in trained.results.items():
        template = facts.facts_of(name)
        failed = {title for title, probe in said["probes"].items() if "error" in probe}
        expected = {"text before a call"} if template.fused else set()
        if template.calls == "GLM4ToolUtils":
            expected.add("parallel calls")
        assert failed == expected, (name, thinking)
        assert said["added_tokens"] == 0


@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_arguments_that_change_the_text(trained: Trained, number: int) -> None:
    """What the table of arguments refuses changes the text, and what it accepts does not, or is served."""
    name, arguments, changes = VARIANTS[number]
    texts, usual = (
        {title: probe.get("text") for title, probe in result["probes"].items()}
        for result in (trained.variants[number], trained.results[name, True])
    )
    assert (texts != usual) is changes
    try:
        text_arguments.check(arguments, name)
        refused = False
    except InputError:
        refused = True
    assert refused is (changes and "default_system" not in arguments)


def test_thoughts(serving: Serving) -> None:
    """Thinking is a capability; a request can turn it off; a thought that Ollama has read is rendered as trained."""
    ollama, served = serving.ollama, served_format("qwen3")
    create(ollama, "thoughts", serving.digests[False], served)
    assert {"thinking", "tools"} <= set(ollama.show("thoughts")["capabilities"])
    empty = "<think>\n\n</think>\n\n"
    asked = ollama.render("thoughts", [user("Où ?")])
    assert asked.endswith("<|im_start|>assistant\n")
    assert ollama.render("thoughts", [user("Où ?")], think=False) == asked + empty
    assert ollama.render("thoughts", [user("Où ?")], think=True) == asked
    for thought in ("Je pense.", "Je pense.\n"):
        rendered = ollama.render("thoughts", [user("Où ?"), answer("Ici.", thought), user("Et ?")])
        assert "<think>\nJe pense.\n</think>\n\nIci.<|im_end|>" in rendered
    closed = served_format("qwen3", enable_thinking=False)
    create(ollama, "closed", serving.digests[False], closed)
    rendered = ollama.render("closed", [user("Où ?"), answer("Ici.", "Je pense."), user("Et ?")])
    assert f"{empty}Ici.<|im_end|>" in rendered and rendered.endswith(empty)
    assert "thinking" not in ollama.show("closed")["capabilities"]


def test_an_empty_system_prompt_uses_the_default(serving: Serving) -> None:
    for name, default in (("qwen", None), ("qwen", "Tu es bref."), ("mistral", "Tu es bref.")):
        served = served_format(name, default_system=default, eos=EOS)
        create(serving.ollama, "default", serving.digests[False], served)
        for messages in ([user("Où ?")], [{"role": "system", "content": ""}, user("Où ?")]):
            assert (default or facts.facts_of("qwen").default_system) in serving.ollama.render("default", messages)


def with_chat_template(source: Path, target: Path, text: str) -> None:
    """Copy a GGUF file and put a chat template into it; its entry has n * 32 bytes, so that tensors stay aligned."""
    key = b"tokenizer.chat_template"
    head = struct.pack("<Q", len(key)) + key + struct.pack("<I", 8)
    raw = text.encode()
    raw += b"\n" * (-(len(head) + 8 + len(raw)) % 32)
    content = source.read_bytes()
    magic, version, tensors, entries = struct.unpack("<4sIQQ", content[:24])
    header = struct.pack("<4sIQQ", magic, version, tensors, entries + 1)
    target.write_bytes(header + head + struct.pack("<Q", len(raw)) + raw + content[24:])


@pytest.mark.parametrize(
    ("name", "thinking"),
    [
        *(("qwen", True), ("chatglm3", True), ("qwen3", True), ("qwen3", False), ("qwen3_5", True), ("llama3", True)),
        *(("deepseekr1", True), ("deepseekr1", False), ("minimax2", True), ("mistral", True)),
    ],
)
def test_template_stays_in_force(serving: Serving, trained: Trained, name: str, thinking: bool) -> None:
    """Over a base whose own chat template knows tools and thoughts, which since 0.30 can win: with a PARSER of each
    kind, with thoughts, and with the capability alone.
    """
    path = serving.gguf.with_name("native.gguf")
    if not path.exists():
        with_chat_template(serving.gguf, path, CHAT_TEMPLATE)
    digest = push(serving.ollama, path)
    said = trained.results[name, thinking]
    bos = BOS if starts_with_bos(name) or contains_bos(name) else ""
    served = served_format(name, enable_thinking=thinking, eos=EOS, bos=bos, date=said["date"], base_thinks=True)
    create(serving.ollama, "native", digest, served)
    for title in ("plain", "call, result, answer"):
        request = ALL[title].request()
        rendered = serving.ollama.render("native", request.pop("messages"), **request)
        assert proof.compare(title, said["probes"][title], rendered) is None
    assert "tools" in serving.ollama.show("native")["capabilities"]


@pytest.mark.parametrize("name", ["qwen", "llama3"])
def test_canonical_tools_and_arguments_are_printed_as_python_does(serving: Serving, name: str) -> None:
    """Random tools and arguments, also with what no server receives, on one line and indented."""
    create(serving.ollama, "random", serving.digests[False], served_format(name, eos=EOS))
    chance = random.Random(7)
    for _attempt in range(40):
        tools = [random_tool(chance, f"f{number}") for number in range(chance.randint(1, 2))]
        arguments = random_arguments(chance)
        written, _findings = canonical.canonical_tools(tools)
        expected, _findings = canonical.canonical_arguments(arguments)
        conversation = [
            user("u"),
            {**calls(text=""), "tool_calls": [{"function": {"name": "f0", "arguments": arguments}}]},
            result("r", "f0"),
        ]
        rendered = serving.ollama.render("random", conversation, tools=tools)
        if name == "qwen":
            text = "".join("\n" + canonical.as_text(tool) for tool in written)
            call = canonical.as_text({"name": "f0", "arguments": expected})
        else:
            text = "".join(json.dumps(tool, indent=4, ensure_ascii=False) + "\n\n" for tool in written)
            call = canonical.as_text({"name": "f0", "parameters": expected})
        assert text in rendered and call in rendered, (tools, arguments)
