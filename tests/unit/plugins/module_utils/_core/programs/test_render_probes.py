# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering of probes, with a stand-in for LLaMA-Factory; tests/real/test_chat_formats_real.py uses the real one."""

from __future__ import annotations

import sys
import types
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import render_probes


class Tokenizer:
    """A token is a character."""

    eos_token, bos_token = "E", None
    size = 256

    def __len__(self) -> int:
        return self.size

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        assert add_special_tokens is False
        return [ord(character) for character in text]

    def decode(self, ids: t.Sequence[int], **_options: t.Any) -> str:
        return "".join(map(chr, ids))


class Template:
    """Renders a question as <U…> and an answer as its slots say; a function row is refused."""

    def __init__(self, *slots: t.Any, merges_end: bool = False) -> None:
        self.format_assistant = types.SimpleNamespace(slots=list(slots))
        self.merges_end = merges_end
        self.discarded: list[bool] = []
        self.default_system = ""

    def _convert_elements_to_ids(self, _tokenizer: t.Any, slots: t.Sequence[t.Any]) -> list[int]:
        return [ord(character) for slot in slots for character in (slot if isinstance(slot, str) else "E")]

    def encode_multiturn(
        self, _tokenizer: t.Any, messages: list[dict[str, str]], system: str | None, tools: str | None, discard: bool
    ) -> list[tuple[list[int], list[int]]]:
        self.discarded.append(discard)
        pairs = []
        for question, answer in zip(messages[::2], messages[1::2]):
            if answer["role"] == "function":
                raise RuntimeError("Invalid JSON format")
            before = f"{system or ''}{tools or ''}<U{question['content']}>"
            content = [slot.replace("{{content}}", answer["content"]) if isinstance(slot, str) else slot
                       for slot in self.format_assistant.slots]  # fmt: skip
            said = self._convert_elements_to_ids(None, content)
            if self.merges_end:
                said[-1] = 999
            pairs.append(([ord(character) for character in before], said))
            system = tools = None
        return pairs


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Template]:
    """Templates of the stand-in."""
    templates = {"t": Template("{{content}}", {"eos_token"}, "\n"), "merged": Template("{{content}}!", merges_end=True)}
    seen: list[t.Any] = []

    def get_template(tokenizer: Tokenizer, arguments: t.Any) -> Template:
        chosen = templates[arguments.template]
        chosen.default_system = arguments.default_system or ""
        seen.append(arguments)
        tokenizer.size += 1
        return chosen

    module = types.ModuleType("llamafactory.data")
    module.template = types.SimpleNamespace(  # type: ignore[attr-defined]
        TEMPLATES=templates, get_template_and_fix_tokenizer=get_template
    )
    monkeypatch.setitem(sys.modules, "llamafactory", types.ModuleType("llamafactory"))
    monkeypatch.setitem(sys.modules, "llamafactory.data", module)
    return templates


def probe(*messages: tuple[str, str], continued: bool = False, system: str = "") -> dict[str, t.Any]:
    """A probe as the program receives it."""
    rows = [{"role": role, "content": content} for role, content in messages]
    return {"name": "p", "system": system, "messages": rows, "tools": "", "continued": continued}


def rendered(name: str, one: dict[str, t.Any], **arguments: t.Any) -> dict[str, t.Any]:
    """The result of one probe."""
    return render_probes.render({"template": name, "arguments": arguments, "probes": [one]}, Tokenizer())


@pytest.mark.usefixtures("registry")
def test_prompt_and_continued_answer() -> None:
    open_ = probe(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "-"), system="S")
    found = rendered("t", open_)
    assert found["probes"]["p"]["text"] == "S<Ua>bE\n<Uc>"
    assert found["probes"]["p"]["ids"] == [ord(character) for character in "S<Ua>bE\n<Uc>"]
    assert (found["eos"], found["bos"], found["added_tokens"]) == ("E", "", 1)
    assert len(found["date"].split()) == 3
    assert rendered("t", probe(("user", "a"), ("assistant", "b"), continued=True))["probes"]["p"]["text"] == "<Ua>b"


def test_continued_answer_whose_end_is_one_token_with_it(registry: dict[str, Template]) -> None:
    class Merging(Tokenizer):
        def decode(self, ids: t.Sequence[int], **_options: t.Any) -> str:
            return "".join("b!" if number == 999 else chr(number) for number in ids)

    registry["merged"].format_assistant.slots = ["{{content}}!"]
    request = {"template": "merged", "probes": [probe(("user", "a"), ("assistant", "b"), continued=True)]}
    # the content and its end became b and a token that holds both
    found = render_probes.render(request, Merging())["probes"]["p"]
    assert found["text"] == "<Ua>bb"


@pytest.mark.usefixtures("registry")
def test_error_of_one_probe() -> None:
    found = rendered("t", probe(("user", "a"), ("function", "x"), ("observation", "r"), ("assistant", "-")))
    assert found["probes"]["p"] == {"error": "RuntimeError: Invalid JSON format"}


def test_the_registry_stays_as_it_is(registry: dict[str, Template]) -> None:
    """A training in the same process uses the registered template afterwards."""
    before = registry["t"]
    rendered("t", probe(("user", "a"), ("assistant", "-")), default_system="S", mask_history=True)
    assert registry["t"] is before and before.default_system == "" and before.discarded == []


def test_tokenizer_with_more_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[tuple[list[str], bool]] = []
    loaded: dict[str, t.Any] = {}

    class Auto:
        @staticmethod
        def from_pretrained(directory: str, **options: t.Any) -> t.Any:
            loaded.update(options, directory=directory)
            return types.SimpleNamespace(
                add_tokens=lambda new_tokens, special_tokens: added.append((new_tokens, special_tokens))
            )

    module = types.ModuleType("transformers")
    module.AutoTokenizer = Auto  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    render_probes.load_tokenizer("/base", {"add_tokens": "<a>, <b>", "add_special_tokens": "<c>"})
    assert added == [(["<a>", "<b>"], False), (["<c>"], True)]
    assert (loaded["directory"], loaded["use_fast"], loaded["trust_remote_code"]) == ("/base", True, False)
