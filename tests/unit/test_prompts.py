# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the quickstart trains: the prompts it ships, and when the program that makes its tiny base makes one.

That the base learns them, and that its two tokenizers agree, needs the real tools and is tested with those.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import sys
import unicodedata

import pytest

FILES = pathlib.Path(__file__).parents[2] / "playbooks" / "files"
PROMPTS = FILES / "homelab_prompts.json"
TOOL_PROMPTS = FILES / "homelab_tool_prompts.json"
TOOLS = FILES / "tools" / "homelab.json"
SYSTEM = "Tu es un assistant homelab spécialisé."
TOPICS = (
    *("Overseerr", "Sonarr", "Radarr", "Jellyfin", "Plex", "qBittorrent", "restic", "Borg", "VLAN", "DNS", "Pi-hole"),
    *("AdGuard", "Docker", "Compose", "Proxmox", "ZFS", "NAS", "Home Assistant", "Grafana", "Ollama", "WireGuard"),
    *("proxy inverse", "onduleur"),
)


@pytest.fixture(scope="module")
def rows():
    return json.loads(PROMPTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_tiny_base", FILES / "make_tiny_base.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(FILES))  # as for a program that is run from there
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FILES))
    return module


@pytest.fixture(scope="module")
def tool_rows():
    return json.loads(TOOL_PROMPTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tools():
    return json.loads(TOOLS.read_text(encoding="utf-8"))


def test_fifty_rows_of_the_seeds_form(rows):
    assert len(rows) == 50
    for row in rows:
        assert list(row) == ["instruction", "input", "output", "system"]
        assert all(isinstance(value, str) for value in row.values())
        assert row["system"] == SYSTEM


def test_the_first_row_is_the_seeds(rows):
    assert rows[0]["instruction"] == "Comment ajouter un film à ma liste Overseerr ?"
    assert rows[0]["output"].startswith("Pour ajouter un film à Overseerr, je vais utiliser l'outil request_media")


def test_questions_and_answers_are_distinct(rows):
    assert len({row["instruction"] for row in rows}) == 50
    assert len({row["output"] for row in rows}) == 50


def test_some_questions_come_with_an_input(rows):
    assert 3 <= sum(1 for row in rows if row["input"]) <= 10


def test_answers_are_one_or_two_short_sentences(rows):
    for row in rows:
        assert 15 <= len(row["output"].split()) <= 35, row["instruction"]
        assert row["output"].endswith(".")
        assert row["instruction"][-1] in ".?"


def test_text_is_clean(rows):
    for text in (value for row in rows for value in row.values()):
        assert text == text.strip() and "  " not in text
        assert unicodedata.is_normalized("NFC", text)
        # one form of each sign, and spaces that every tokenizer and keyboard knows
        assert not set(text) & set("\u2019\u2018\u201c\u201d\u00a0\u202f\n\t"), text
        assert all(character.isprintable() for character in text)


def test_french_questions_have_a_blank_before_their_mark(rows):
    for row in rows:
        for text in (row["instruction"], row["output"]):
            for place, mark in enumerate(text):
                if mark in "?!;":
                    assert text[place - 1] == " ", text


@pytest.mark.parametrize("topic", TOPICS)
def test_the_homelab_is_covered(rows, topic):
    assert any(topic in row["instruction"] + row["output"] for row in rows)


def test_some_answers_name_a_tool_of_the_assistant(rows):
    named = [row for row in rows if "je vais utiliser l'outil" in row["output"].lower()]
    assert len(named) >= 5


def test_the_file_is_written_as_json_is(rows):
    assert PROMPTS.read_text(encoding="utf-8") == json.dumps(rows, ensure_ascii=False, indent=2) + "\n"


def calls_of(row):
    return [call for message in row["messages"] for call in message.get("tool_calls", ())]


def test_rows_with_tools_name_the_declared_ones(tool_rows, tools):
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    called = set()
    for row in tool_rows:
        assert row["tools"] == "homelab" and row["messages"][0] == {"role": "system", "content": SYSTEM}
        for call in calls_of(row):
            schema, arguments = schemas[call["function"]["name"]], json.loads(call["function"]["arguments"])
            assert set(schema["required"]) <= set(arguments) <= set(schema["properties"])
            for name, value in arguments.items():
                described = schema["properties"][name]
                assert isinstance(value, int if described["type"] == "integer" else str)
                assert value in described.get("enum", [value])
            called.add(call["function"]["name"])
    assert called == set(schemas)
    assert any(not calls_of(row) for row in tool_rows), "some questions need no tool"
    assert any(len(message.get("tool_calls", ())) > 1 for row in tool_rows for message in row["messages"])


def test_every_call_has_its_result_and_an_answer(tool_rows):
    ids = [call["id"] for row in tool_rows for call in calls_of(row)]
    assert len(ids) == len(set(ids)) >= 16
    for row in tool_rows:
        results = [message["tool_call_id"] for message in row["messages"] if message["role"] == "tool"]
        assert results == [call["id"] for call in calls_of(row)]
        last = row["messages"][-1]
        assert last["role"] == "assistant" and last["content"][-1] == "."


@pytest.mark.parametrize("topic", ["Overseerr", "Sonarr", "Radarr", "restic", "Borg", "NAS", "Proxmox", "routeur"])
def test_rows_with_tools_cover_the_homelab(tool_rows, topic):
    assert any(topic in (message.get("content") or "") for row in tool_rows for message in row["messages"])


def test_the_files_with_tools_are_written_as_json_is(tool_rows, tools):
    for path, value in ((TOOL_PROMPTS, tool_rows), (TOOLS, tools)):
        assert path.read_text(encoding="utf-8") == json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    for message in (message for row in tool_rows for message in row["messages"]):
        assert unicodedata.is_normalized("NFC", message.get("content") or "")


def test_the_texts_of_rows_with_tools(maker, tool_rows):
    texts = maker.load_texts(str(TOOL_PROMPTS))
    assert '{"name": "request_media", "arguments": {"title": "Dune", "type": "film", "year": 2021}}' in texts
    assert tool_rows[0]["messages"][1]["content"] in texts and "" not in texts


def options(maker, *more):
    return maker.options_of(maker.parse_arguments(["--output", "o", "--prompts", "p", *more]))


@pytest.fixture
def base(maker, tmp_path):
    """A finished base as the program leaves it; the weights stand for themselves."""
    output = tmp_path / "base"
    output.mkdir()
    (output / "model.safetensors").write_bytes(b"weights")
    files = maker.directory_digests(str(output))
    receipt = {"files": files, "options": options(maker), "prompts": maker.file_digest(str(PROMPTS))}
    maker.write_json(str(output / maker.RECEIPT), receipt)
    return output


def make(maker, base, *more, prompts=PROMPTS):
    return maker.make(str(base), [str(prompts)], options(maker, *more))


def test_a_base_made_alike_is_kept(maker, base):
    assert make(maker, base).startswith(f"kept {base}: made with the same options, sha256:")
    assert sorted(os.listdir(base)) == ["model.safetensors", "tiny_base.json"]


def test_a_base_is_kept_when_the_prompts_were_edited(maker, base, tmp_path, rows):
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(rows[1:]), encoding="utf-8")
    assert "made from other prompts" in make(maker, base, prompts=edited)


def test_a_base_made_otherwise_is_refused_and_left(maker, base):
    with pytest.raises(maker.TinyBaseError, match=r"other options \(layers, seed\).*--replace"):
        make(maker, base, "--seed", "1", "--layers", "3")
    assert (base / "model.safetensors").read_bytes() == b"weights"


def test_a_damaged_base_is_refused(maker, base):
    (base / "model.safetensors").write_bytes(b"weight")
    with pytest.raises(maker.TinyBaseError, match=r"damaged: model\.safetensors"):
        make(maker, base)


def test_what_it_did_not_make_is_refused_and_left(maker, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(maker.TinyBaseError, match="not created by this program"):
        make(maker, tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_what_fails_half_way_leaves_nothing_and_what_was_there(maker, base, monkeypatch):
    def broken(directory, texts, options, tools):
        pathlib.Path(directory, "model.safetensors").write_bytes(b"half")
        raise maker.TinyBaseError("The two tokenizers disagree.")

    monkeypatch.setattr(maker, "build", broken)
    with pytest.raises(maker.TinyBaseError, match="disagree"):
        maker.make(str(base), [str(PROMPTS)], options(maker), replace=True)
    assert (base / "model.safetensors").read_bytes() == b"weights"
    assert os.listdir(base.parent) == ["base"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "not a list of rows"),
        ("{", "Cannot read"),
        ('[{"instruction": "a", "output": "b"}, {"instruction": "a", "output": 3}]', "Row 2"),
        ('[{"instruction": "", "output": "b"}]', "Row 1"),
        ('[{"messages": [{"role": "user", "content": "a"}]}, {"messages": [3]}]', "Row 2"),
        ('[{"messages": [{"tool_calls": [{"function": {"name": "a"}}]}]}]', "Row 1"),
    ],
)
def test_bad_prompts_end_with_the_reason(maker, tmp_path, capsys, content, reason):
    (tmp_path / "p.json").write_text(content)
    assert maker.main(["--output", str(tmp_path / "b"), "--prompts", str(tmp_path / "p.json")]) == 1
    assert reason in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["p.json"]


@pytest.mark.parametrize("more", [["--hidden", "100", "--heads", "3"], ["--kv-heads", "3"], ["--vocabulary", "10"]])
def test_a_shape_that_cannot_be_is_a_mistake_on_the_command_line(maker, more, capsys):
    with pytest.raises(SystemExit, match="2"):
        options(maker, *more)
    assert "must be" in capsys.readouterr().err


def test_merges_come_in_the_order_of_their_scores(maker):
    pieces = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5}
    assert maker.ranked_merges(pieces, {"bc": -2.0, "ab": -1.0, "abc": -3.0}) == [
        ("a", "b"),
        ("b", "c"),
        ("a", "bc"),
        ("ab", "c"),
    ]
