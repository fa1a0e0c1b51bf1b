# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks and roles need and offer as a whole: other collections, tags, tasks."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted(
    [
        *ROOT.glob("playbooks/*.yml"),
        *ROOT.glob("playbooks/tasks/*.yml"),
        *ROOT.glob("roles/*/tasks/*.yml"),
        *ROOT.glob("roles/*/handlers/*.yml"),
    ]
)
#: Keys of plays, blocks and tasks that hold others.
INSIDE = ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always")


def entries(value: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """All plays, blocks and tasks of a file."""
    for entry in value or []:
        yield entry
        for key in INSIDE:
            yield from entries(entry.get(key))


def read(path: Path) -> list[dict[str, t.Any]]:
    return list(entries(yaml.safe_load(path.read_text(encoding="utf-8"))))


def test_requirements_name_the_collections_that_are_used() -> None:
    """None but this one and what ansible-core brings; the archive says the same as the file for the clone."""
    wanted = yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]
    assert wanted == list(yaml.safe_load((ROOT / "galaxy.yml").read_text())["dependencies"])
    used = {key.rpartition(".")[0] for path in FILES for entry in read(path) for key in entry if key.count(".") == 2}
    looked_up = {
        found.rpartition(".")[0]
        for path in [*FILES, *ROOT.glob("roles/*/*/main.yml")]
        for found in re.findall(r"lookup\('([\w.]+\.[\w.]+\.\w+)'", path.read_text(encoding="utf-8"))
    }
    assert used | looked_up == {"ansible.builtin", "ia_homelab.llamafactory", *wanted}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_task_has_tags(path: Path) -> None:
    """A selection by tags would leave out what later tasks need; what can be selected is an option."""
    assert not [entry for entry in read(path) if "tags" in entry]


#: What a usual run reaches: playbooks, and files of tasks of the roles.
USUAL = [
    *(
        f"playbooks/{name}.yml"
        for name in ("finetune", "plan", "status", "chat", "rollback", "cancel", "page", "tools", "site")
    ),
    *(
        f"roles/finetune/tasks/{name}.yml"
        for name in ("main", "apply", "submit", "one_host", "one_host_plan", "plan", "follow")
    ),
    *(f"roles/llamafactory/tasks/{name}.yml" for name in ("main", "facts", "install", "component", "packages")),
    *(
        f"roles/ollama/tasks/{name}.yml"
        for name in ("main", "install", "existing", "archive", "archive_unpack", "process")
    ),
    *(f"roles/training_service/tasks/{name}.yml" for name in ("main", "present", "python", "tokens", "tokens_made")),
    *(
        f"roles/nvidia_docker/tasks/{name}.yml"
        for name in ("main", "present", "packages", "repository", "daemon", "settings")
    ),
    *(f"roles/job_helper/tasks/{name}.yml" for name in ("main", "present")),
]


@pytest.mark.parametrize("path", USUAL)
def test_no_task_of_a_usual_run_is_skipped(path: str) -> None:
    """What is optional is decided in modules, or by the name of an included file. A check leaves some tasks out."""
    conditions = [str(entry["when"]) for entry in read(ROOT / path) if "when" in entry]
    assert [condition for condition in conditions if condition != "not ansible_check_mode"] == []


def test_an_apply_has_few_tasks() -> None:
    """Of hosts that share no fine-tune, these are all tasks of the role."""
    role = ROOT / "roles" / "finetune" / "tasks"
    tasks = [entry for name in ("submit", "one_host", "follow") for entry in read(role / f"{name}.yml")]
    assert len(tasks) == 6
    steps = [entry["name"] for entry in read(role / "follow.yml")]
    assert len(steps) == 4 and "Promote what passes its gate" in steps, "a promotion is a task of its own"
