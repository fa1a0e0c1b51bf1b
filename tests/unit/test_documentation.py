# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation names exists: places it links to, names of options and variables, playbooks, examples."""

from __future__ import annotations

import collections
import functools
import pathlib
import re
import subprocess
import typing as t

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import declaration, entries
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import options
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _extra_vars

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: Folders whose files are no documentation, or another view of the same files.
_SKIPPED = (".git", ".venv", "collections", "changelogs")
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.rglob("*.md")
    if not set(_SKIPPED) & set(path.relative_to(ROOT).parts)
)
#: Names that examples choose, and those of files and keys that are not in this repository.
_OF_EXAMPLES = {
    "JOB_ID", "doctor_prompts", "homelab_preferences", "vault_training_token",
    "create_blob", "export_adapter", "file_download", "security_fixes",
}  # fmt: skip
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

#: What ``tools: homelab`` stands for in the examples, which the action plugin looks up in ``finetune_tools``.
TOOLS = [
    {
        "name": name,
        "description": "Does it.",
        "parameters": {"type": "object", "properties": {each: {"type": "string"} for each in arguments}},
    }
    for name, arguments in (("request_media", ("title", "type")), ("ping_host", ("host",)))
]


def read(document: str) -> str:
    return ROOT.joinpath(document).read_text(encoding="utf-8")


def code_of(document: str) -> list[str]:
    """The code in a document: its blocks, and what is in backticks."""
    text = read(document)
    return [block for _language, block in _FENCE.findall(text)] + re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))


@functools.cache
def repository() -> tuple[str, ...]:
    """The files that git knows, and the new ones."""
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return tuple(listed.stdout.splitlines())
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return tuple(path.as_posix() for path in found if not set(_SKIPPED) & set(path.parts))


@functools.cache
def names_in_code() -> frozenset[str]:
    """Every name in the files of the repository that are no documentation, and the names of its Python files."""
    names: set[str] = set()
    for name in repository():
        path = ROOT / name
        if path.suffix in (".md", ".xz", ".png", ".gz") or name.startswith("changelogs/") or not path.is_file():
            continue
        names.update(re.findall(r"\w+", path.read_text(encoding="utf-8", errors="replace")), [path.stem])
    # a name that stands only in this file is the name of nothing
    return frozenset(names - _OF_EXAMPLES)


def anchors(path: pathlib.Path) -> set[str]:
    """Anchors of the headings of a document, as forges make them."""
    found, count = set(), collections.Counter[str]()
    for heading in re.findall(r"^#+ (.*)$", _FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{anchor}-{count[anchor]}" if count[anchor] else anchor)
        count[anchor] += 1
    return found


def test_the_documents_are_found() -> None:
    assert {"README.md", "README.fr.md", "docs/README.md", "roles/finetune/README.md"} <= set(DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    broken = []
    here = ROOT / document
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", _FENCE.sub("", read(document))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _hash, anchor = target.partition("#")
        path = (here.parent / name).resolve() if name else here
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_names_are_names_of_something(document: str) -> None:
    """Options, variables, modules, fields and environment variables: names with an underscore."""
    pattern = r"(?<![\w/.<-])(?:[a-z]+(?:_[a-z0-9]+)+|[A-Z]{2,}(?:_[A-Z]+)+)\b"
    named = {name for code in code_of(document) for name in re.findall(pattern, code)}
    assert sorted(named - names_in_code() - _OF_EXAMPLES) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_playbooks_and_their_extra_variables_exist(document: str) -> None:
    known = _extra_vars.role_options() | set(_extra_vars.OTHERS) | set(_extra_vars.PLAYBOOKS)
    text = read(document)
    for name in re.findall(r"\bplaybooks/(\w+\.yml)", text):
        assert (ROOT / "playbooks" / name).exists(), name
    for line in re.findall(r"^.*ansible-playbook.*$", text, re.MULTILINE):
        for name in re.findall(r"(?:-e|--extra-vars) ['\"]?(\w+)=", line):
            assert name in known, line
        for book in re.findall(r"ia_homelab\.llamafactory\.(\w+)", line):
            assert (ROOT / "playbooks" / f"{book}.yml").exists(), line


@pytest.mark.parametrize("document", DOCUMENTS)
def test_parts_of_the_test_and_commands_of_the_front_exist(document: str) -> None:
    script, front, start = (
        read("test.sh"),
        read("playbooks/files/ia.py"),
        read("quickstart.sh"),
    )
    for line in (line for code in code_of(document) for line in code.splitlines()):
        line = line.partition(" #")[0]
        for words in re.findall(r"\./test\.sh((?: [\w-]+)*)", line):
            for word in words.split():
                assert word == "full" or word.isdigit() or re.search(rf"(?<![\w-]){re.escape(word)}\b", script), line
        for word in re.findall(r"\./ia ([a-z]+)\b", line):
            assert re.search(rf'"{word}"|def {word}\b', front), line
        for word in re.findall(r"\./quickstart\.sh .*?(--[a-z-]+)", line):
            assert re.search(rf"(?<![\w-]){word}\b", start), line


def examples(document: str) -> list[t.Any]:
    return [yaml.safe_load(block) for language, block in _FENCE.findall(read(document)) if language == "yaml"]


WITH_EXAMPLES = [document for document in DOCUMENTS if "```yaml" in read(document)]


@pytest.mark.parametrize("document", WITH_EXAMPLES)
def test_examples_are_accepted(document: str) -> None:
    """Examples of fine-tunes are checked as a plan checks them; those of inventories have known variables."""
    known = _extra_vars.role_options() | set(_extra_vars.OTHERS)
    of_finetunes = {option.name for option in options.ALL}
    for example in examples(document):
        if not isinstance(example, dict):
            continue
        if set(example) <= of_finetunes:  # options of an entry
            example = {"finetunes": [{"name": "m", "base_model": "qwen2.5:7b", "dataset": "homelab", **example}]}
        for entry in entries.entries(example.get("finetunes")):
            if isinstance((entry.get("gate") or {}).get("tools"), str):  # a list of finetune_tools
                entry["gate"]["tools"] = TOOLS
            assert declaration.read_declaration(entry).name == entry["name"]
        hosts = example["pc_ia"]["hosts"].values() if "pc_ia" in example else [example]
        for name in (name for variables in hosts for name in variables or ()):
            assert name in known or name.startswith("ansible_"), name
