# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: model_table
short_description: Format models and their versions as the lines of a table
version_added: 0.1.0
description:
  - Formats the models that M(ia_homelab.llamafactory.ollama_model_info) returns as
    RV(ia_homelab.llamafactory.ollama_model_info#module:models) as the lines of a table, one line per version.
  - The table is followed by the lineage of each served model, step by step, back to its prompts and their git commit,
    with the findings of its training, by the holds, and by the differences between Ollama and the recorded state.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  _input:
    description: The models.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the versions
  ansible.builtin.debug:
    msg: "{{ served.models | ia_homelab.llamafactory.model_table | join('\n') }}"
"""

RETURN = r"""
_value:
  description: The lines of the table, starting with the column headers.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases import statements
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils._table import finding_lines, table

_HEADS = ("VERSION", "STATE", "GATE", "TRAINED", "PROMPTS", "COMMIT", "REGISTERED")


def model_table(models: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Format models as the lines of a table.

    :raises AnsibleFilterError: if the input is not a list of models.
    """
    try:
        rows = [_HEADS, *(_row(model, version) for model in models for version in model["versions"])]
        notes = [note for model in models for note in (*_evaluation_lines(model), *_notes(model))]
    except (KeyError, TypeError) as error:
        raise AnsibleFilterError(f"model_table expects the models that ollama_model_info returns: {error}") from error
    if len(rows) == 1:
        return ["no models", *notes]
    return [*table(rows), *notes]


def _row(model: t.Mapping[str, t.Any], version: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    steps = {entry["step"]: entry for entry in version["lineage"]}
    trained = steps.get("train", {"facts": {}, "fingerprint": ""})
    dataset = steps.get("dataset", {"facts": {}, "fingerprint": ""})
    sources = trained["facts"].get("sources") or dataset["facts"].get("sources") or []
    commits = [_commit(source) for source in sources if source.get("commit")]
    gate = version["gate"]
    return (
        version["tag"],
        _state(model, version),
        f"{gate['met']}/{gate['asked']} {'passed' if gate['passed'] else 'shut'}" if gate else "-",
        " ".join(filter(None, [trained["facts"].get("method"), trained["fingerprint"][:8]])) or "-",
        dataset["fingerprint"][:8] or "-",
        ",".join(dict.fromkeys(commits)) or "-",
        version["registered_at"][:16].replace("T", " ") or "-",
    )


def _state(model: t.Mapping[str, t.Any], version: t.Mapping[str, t.Any]) -> str:
    tags = [
        alias.rpartition(":")[2] for alias, target in model["served"].items() if target["version"] == version["tag"]
    ]
    return statements.state_of(
        tags,
        bool(version["there"]),
        held=bool(model["hold"]),
        pruned=bool(version["pruned_at"]),
        kept_out=version["tag"] in (model["hold"] or {}).get("against", []),
        previous=model["previous"] == version["tag"],
        base_of=version.get("base_of") or "",
    ).text


def _version(tag: str) -> str:
    """The version in a tag, in a line that has the name already."""
    return tag.rpartition(":")[2]


def _commit(source: t.Mapping[str, t.Any]) -> str:
    return f"{source['commit'][:10]}{'+' if source.get('dirty') else ''}"


def _lineage_lines(model: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """Yield a line for each served model, followed by one line for each step of its lineage."""
    for version in model["versions"]:
        aliases = [alias for alias, target in model["served"].items() if target["version"] == version["tag"]]
        if not aliases:
            continue
        yield f"{', '.join(aliases)} is {_version(version['tag'])}, made from"
        nothing: dict[str, t.Any] = {"facts": {}}
        trained = next((entry for entry in version["lineage"] if entry["step"] == "train"), nothing)
        for entry in version["lineage"]:
            facts = list(_facts(entry, trained["facts"].get("sources") or []))
            if entry["pruned_at"]:
                facts.append(f"pruned {entry['pruned_at'][:10]}")
            elif not entry["there"]:
                facts.append("gone")
            yield f"  {entry['step']:<12}  {entry['fingerprint'][:12]}  {', '.join(facts)}".rstrip()
        for note in finding_lines(trained["facts"].get("findings") or []):
            yield f"  {note}"


def _facts(entry: t.Mapping[str, t.Any], sources: t.Sequence[t.Mapping[str, t.Any]]) -> t.Iterator[str]:
    facts, step = entry["facts"], entry["step"]
    if step == "base":
        yield f"{facts['hub']}@{str(facts.get('commit', ''))[:12]}" if facts.get("hub") else str(facts.get("location"))
    elif step == "dataset":
        yield f"{facts.get('name')}, {facts.get('rows')} rows"
        for source in sources or facts.get("sources") or []:
            yield f"{source.get('label')}" + (f"@{_commit(source)}" if source.get("commit") else "")
    elif step == "train":
        loss = (facts.get("metrics") or {}).get("train_loss")
        yield from (f"{name} {facts[name]}" for name in ("method", "epochs", "learning_rate") if name in facts)
        yield from [f"loss {loss:.4g}"] if isinstance(loss, (int, float)) else []
    else:
        yield from [f"{facts['tokens']} tokens"] if facts.get("tokens") else []
        yield from ["on the way"] if facts.get("weights") is False else []
        yield from [facts["quantization"]] if facts.get("quantization") else []
        yield from [f"{facts['bytes'] / 1e6:.1f} MB"] if facts.get("bytes") else []


def _evaluation_lines(model: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """Yield a line for each version that was evaluated."""
    for version in model["versions"]:
        if version.get("evaluation"):
            yield f"{version['tag']}: {version['evaluation']['line']}"


def _notes(model: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    yield from _lineage_lines(model)
    if model["hold"]:
        against = ", ".join(map(_version, model["hold"]["against"]))
        yield f"{model['name']}: held at {_version(model['hold']['tag'])} against {against}"
    for reason in model["drift"]:
        yield f"{model['name']}: {reason}"


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by name."""
        return {"model_table": model_table}
