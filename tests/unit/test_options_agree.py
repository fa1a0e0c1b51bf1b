# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a fine-tune are declared once, in the core's tables; what repeats them agrees."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.doc_fragments import hyperparameters as fragment
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import installation
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama import syntax
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import ports
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import (
    hyperparameters,
    option_values,
    options,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.option import METHODS, STAGES

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())


def load(*parts: str) -> t.Any:
    return yaml.safe_load(ROOT.joinpath(*parts).read_text(encoding="utf-8"))


def plain(options: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    """Options without their descriptions."""
    return {
        name: {key: value for key, value in option.items() if key != "description"} for name, option in options.items()
    }


def test_ansible_does_not_check_the_entries_of_finetunes() -> None:
    """The core does, which knows the nearest option: Ansible's own message is hundreds of lines long."""
    role = load("roles", "finetune", "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    assert role["finetunes"]["type"] == "raw"
    for module in ("job", "plan_info", "training_node"):
        text = ROOT.joinpath("plugins", "modules", f"{module}.py").read_text(encoding="utf-8")
        documented = yaml.safe_load(text.split('r"""')[1].split('"""')[0])["options"]
        assert documented["finetunes"]["type"] == "raw"
        assert not {"elements", "suboptions"} & set(documented["finetunes"])


def test_every_row_of_the_table_is_complete() -> None:
    assert len(options.BY_NAME) == len(options.ALL)
    spellings = [name for option in options.ALL for name in option.names]
    assert len(set(spellings)) == len(spellings)
    for option in options.ALL:
        assert option.title and option.description.endswith("."), option.name
        if option.default is not None and option.name not in ("extra", "gate"):
            assert option_values.check_value(option, option.copy_default()) == option.copy_default(), option.name
        assert set(option.methods) <= set(METHODS) and set(option.stages) <= set(STAGES), option.name


def test_the_modules_documentation_is_the_cores_table() -> None:
    documented = yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    assert plain(documented) == plain(hyperparameters.argument_spec("train"))


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_equal_the_defaults(role: str) -> None:
    options = load("roles", role, "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = load("roles", role, "defaults", "main.yml")
    assert {name: option["default"] for name, option in options.items() if "default" in option} == defaults
    for name, option in options.items():
        assert option.get("description"), f"{name} is not described"


def test_core_service_and_client_have_the_version_of_the_collection() -> None:
    version = load("galaxy.yml")["version"]
    assert version == installation.VERSION
    for package in ("service", "client"):
        project = ROOT.joinpath(package, "pyproject.toml").read_text(encoding="utf-8")
        assert re.findall(r'^version = "(.*)"$', project, re.MULTILINE) == [version], package


def test_every_module_is_in_the_action_group() -> None:
    group = load("meta", "runtime.yml")["action_groups"]["llamafactory"]
    assert sorted(group) == sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))


def test_a_variable_has_one_default_in_all_roles_and_playbooks() -> None:
    """A role works without the others, so it repeats the default of a variable that it shares with them."""
    defaults: dict[str, set[str]] = {}
    files = [*ROOT.glob("roles/*/defaults/*.yml"), *ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml")]
    for path in files:
        for name, value in re.findall(r"(\w+) \| default\('([^']+)'\)", path.read_text(encoding="utf-8")):
            defaults.setdefault(name, set()).add(value)
    assert defaults["ollama_url"] == {syntax.DEFAULT_URL}
    assert defaults["llamafactory_data_dir"] == {
        load("roles", "llamafactory", "defaults", "main.yml")["llamafactory_data_dir"]
    }
    assert load("roles", "ollama", "defaults", "main.yml")["ollama_port"] == ports.OLLAMA_PORT
    assert {name: values for name, values in defaults.items() if len(values) > 1} == {}


def test_the_pins_in_the_documentation_are_those_of_the_files() -> None:
    """docs/dependencies.md has every package that is declared, with the version that is installed."""
    taken = ROOT.joinpath("docs", "dependencies.md").read_text(encoding="utf-8").partition("\n## Taken\n")[2]
    documented = {
        path: dict(re.findall(r"^\| `([\w.-]+)` \| (\S+) \|", section, re.MULTILINE))
        for path, section in re.findall(r"^### `(\S+\.txt)`\n(.*?)(?=^### |\Z)", taken, re.MULTILINE | re.DOTALL)
    }
    assert len(documented) == 9
    for path, versions in documented.items():
        pins = ROOT.joinpath(path).read_text(encoding="utf-8")
        for package, version in versions.items():
            assert re.search(rf"^{re.escape(package)}=={re.escape(version)}( |$)", pins, re.MULTILINE), (path, package)
        source = ROOT.joinpath(path).with_suffix(".in")
        if source.exists():
            declared = set(re.findall(r"^[a-z][a-z0-9-]*", source.read_text(encoding="utf-8"), re.MULTILINE))
            assert declared - set(versions) == set(), path
