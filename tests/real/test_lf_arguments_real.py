# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the list of arguments that is read from LLaMA-Factory's source with its real parser.

Needs ``IA_LF_VENV``; fails where it is missing. About half a minute, nearly all of it LLaMA-Factory's imports.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.catalogue import CATALOGUE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.text_arguments import (
    TEXT_ARGUMENTS,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import (
    llamafactory_arguments,
    training_check,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.extra_arguments import (
    EXTRA_ARGUMENTS,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.known_names import (
    MANAGED_ARGUMENTS,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.llamafactory_arguments import (
    LfArguments,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.options import OPTIONS
from ansible_collections.ia_homelab.llamafactory.tests import template_snapshot
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base

#: Asks LLaMA-Factory itself for its fields and templates, and whether its parser accepts the generated arguments.
_ASK = """
import dataclasses, json, sys
from transformers import HfArgumentParser
from llamafactory.data.template import TEMPLATES
from llamafactory.extras.constants import DEFAULT_TEMPLATE, SUPPORTED_MODELS
from llamafactory.hparams.parser import _TRAIN_ARGS, _parse_train_args
fields = [field.name for kind in _TRAIN_ARGS for field in dataclasses.fields(kind) if field.init]
taken = []
for each in json.load(sys.stdin):
    model, data, training, finetuning, generating = _parse_train_args(each)
    alpha = finetuning.lora_alpha if finetuning.finetuning_type == "lora" else None
    taken.append([finetuning.finetuning_type, alpha, training.warmup_steps, training.adam_beta2])
families = {}
for name, template in DEFAULT_TEMPLATE.items():
    for address in SUPPORTED_MODELS.get(name, {}).values():
        families[address] = template
print("ANSWER" + json.dumps({"fields": fields, "templates": list(TEMPLATES), "taken": taken, "families": families}))
"""


@pytest.mark.parametrize(
    ("declared", "problem", "hint"),
    [
        ({"extra": {"eval_strategy": "steps"}}, "eval_dataset be provided", "Declare validation_share"),
        ({"lora_target": "q_proj,q_prj"}, "has no modules 'q_prj'", "down_proj, gate_proj, k_proj, o_proj, q_proj"),
        ({"extra": {"flash_attn": "flash2"}}, "extra.flash_attn must be one of auto", ""),
        ({"lora_target": "q_proj", "extra": {"optim": "adafactor", "additional_target": "embed_tokens"}}, "", ""),
    ],
)
def test_a_declaration_is_checked_before_the_queue(
    tmp_path: Path, venv: str, declared: dict[str, t.Any], problem: str, hint: str
) -> None:
    """What LLaMA-Factory or PEFT would refuse or ignore when the model has been loaded."""
    base = str(make_tiny_base(tmp_path / "base"))
    hyper = hp.normalise({"template": "qwen", **declared})

    def checked() -> t.Any:
        known = llamafactory_arguments.check(hyper, venv)
        layout = Layout(str(tmp_path / "data"))
        return training_check.check(layout, hp.resolved(known), base, "ab", Toolchain(venv), True)

    if not problem:
        assert checked() is None
        return
    with pytest.raises(InputError) as caught:
        checked()
    assert problem in caught.value.message and hint in caught.value.hint


@pytest.fixture(scope="module")
def venv() -> str:
    """LLaMA-Factory's virtual environment."""
    path = os.environ.get("IA_LF_VENV", "")
    assert path, "set IA_LF_VENV to run these tests"
    return path


@pytest.fixture(scope="module")
def known(venv: str) -> LfArguments:
    """The arguments that are read from its source."""
    return llamafactory_arguments.read_arguments(venv)


@pytest.fixture(scope="module")
def answer(venv: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, t.Any]:
    """The arguments that LLaMA-Factory itself reports."""
    root = str(tmp_path_factory.mktemp("answer"))
    given = []
    for declared in ({}, {"method": "full", "gradient_checkpointing": False}, {"method": "freeze"}, EXTRA):
        values = hp.resolved(hp.normalise({"template": "qwen", **declared}))
        given.append(hp.llamafactory_train_arguments(values, root, "d", root, os.path.join(root, "out"), "cpu"))
    done = subprocess.run(
        [os.path.join(venv, "bin", "python"), "-c", _ASK],
        input=json.dumps(given),
        env={"PATH": os.environ["PATH"], "HOME": root, "DISABLE_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, t.Any] = json.loads(done.stdout.partition("ANSWER")[2])
    return found


EXTRA = {"extra": {"adam_beta2": "9.5e-1", "neftune_noise_alpha": 5, "optim": "adafactor"}}


def test_the_names_for_extra_are_those_of_the_installed_version(venv: str) -> None:
    """An argument at the top that belongs in extra is refused with that hint, without running LLaMA-Factory."""
    options = {option.lf_argument for option in OPTIONS}
    assert (
        set(llamafactory_arguments.read_arguments(venv).arguments) - set(MANAGED_ARGUMENTS) - options == EXTRA_ARGUMENTS
    )


def test_list_equals_that_of_the_parser(known: LfArguments, answer: dict[str, t.Any]) -> None:
    assert set(known.arguments) == set(answer["fields"])
    assert set(known.templates) == set(answer["templates"])


def test_listing_arguments_is_fast(venv: str) -> None:
    """A plan waits for this list, so it must take much less than the half minute of importing LLaMA-Factory."""

    def processor_seconds() -> float:
        return sum(os.times()[:4])  # on a busy machine, time that has passed shows nothing

    start = processor_seconds()
    llamafactory_arguments.read_arguments(venv)
    assert processor_seconds() - start < 4


def test_parser_accepts_generated_arguments(answer: dict[str, t.Any]) -> None:
    assert answer["taken"] == [
        ["lora", 32, 0.1, 0.999],
        ["full", None, 0.1, 0.999],
        ["freeze", None, 0.1, 0.999],
        ["lora", 32, 0.1, 0.95],
    ]


def test_every_known_key_exists_in_the_parser(known: LfArguments) -> None:
    for option in OPTIONS:
        assert not option.lf_argument or option.lf_argument in known.arguments, option.name
    assert not [name for name in MANAGED_ARGUMENTS if name not in known.arguments and name not in _OF_OTHER_VERSIONS]


#: Arguments of transformers 4, which LLaMA-Factory supports as well.
_OF_OTHER_VERSIONS = {"logging_dir", "push_to_hub_token"}


def test_extra_arguments(venv: str) -> None:
    checked = llamafactory_arguments.check(
        hp.normalise({"extra": {"use_dora": "true", "loraplus_lr_ratio": "16"}}), venv
    )
    assert checked.extra == {"use_dora": True, "loraplus_lr_ratio": 16.0}
    with pytest.raises(InputError, match="neftune_noise_alpa") as caught:
        llamafactory_arguments.check(hp.normalise({"extra": {"neftune_noise_alpa": 5}}), venv)
    assert "Did you mean neftune_noise_alpha" in caught.value.hint
    with pytest.raises(InputError, match="no chat template"):
        llamafactory_arguments.check(hp.normalise({"template": "qwen25"}), venv)


#: Where LLaMA-Factory renders and tokenizes rows: file, and the functions in it; all of them without one.
_TEXT_SOURCES: dict[str, tuple[str, ...]] = {
    "data/template.py": (),
    "data/processor/supervised.py": (),
    "data/processor/pairwise.py": (),
    "data/processor/feedback.py": (),
    "model/loader.py": ("_get_init_kwargs", "load_tokenizer"),
    "model/patcher.py": ("patch_tokenizer", "patch_processor"),
}


def arguments_read_in(tree: ast.AST) -> set[str]:
    """Names of the attributes of ``data_args`` and ``model_args`` that a piece of source reads."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            if name in ("data_args", "model_args"):
                found.add(node.attr)
    return found


def test_every_argument_that_changes_a_text_is_in_the_table(venv: str, known: LfArguments) -> None:
    (package,) = Path(venv).glob("lib/python*/site-packages/llamafactory")
    read: set[str] = set()
    for path, functions in _TEXT_SOURCES.items():
        tree = ast.parse((package / path).read_text("utf-8"))
        parts = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in functions]
        assert len(parts) == len(functions), path
        for part in parts or [tree]:
            read |= arguments_read_in(part)
    assert {"default_system", "tool_format", "enable_thinking", "mask_history", "split_special_tokens"} <= read
    # model_max_length is a field that is computed from cutoff_len
    assert read - set(TEXT_ARGUMENTS) == set()
    assert set(TEXT_ARGUMENTS) - set(known.arguments) <= {"model_max_length"}


def test_the_snapshot_of_models_is_what_llamafactory_names() -> None:
    found = template_snapshot.dump(os.environ["IA_LF_VENV"], template_snapshot.MODELS_PROGRAM)
    assert template_snapshot.models_source(found) == template_snapshot.MODELS.read_text("ascii")


def test_catalogue_templates_match_llamafactory(known: LfArguments, answer: dict[str, t.Any]) -> None:
    for entry in CATALOGUE:
        assert entry.template in known.templates, entry.hub_id
        # some repositories of the catalogue have another address in its table
        assert answer["families"].get(entry.hub_id, entry.template) == entry.template, entry.hub_id
    assert sum(entry.hub_id in answer["families"] for entry in CATALOGUE) > 30
