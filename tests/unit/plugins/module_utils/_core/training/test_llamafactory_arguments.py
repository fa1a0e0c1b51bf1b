# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks ``extra`` and ``template`` against LLaMA-Factory's arguments, and reads these from its source."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import list_llamafactory_arguments
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import (
    hyperparameters,
    llamafactory_arguments,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.llamafactory_arguments import (
    LfArguments,
)

SUPPORTED = LfArguments(
    {
        "flash_attn": "AttentionFunction",
        "optim": "OptimizerNames | str",
        "adam_beta2": "float",
        "max_steps": "int",
        "use_dora": "bool",
        "neftune_noise_alpha": "float | None",
        "deepspeed": "dict | str | None",
        "pref_loss": "Literal['sigmoid', 'orpo']",
        "mixture_of_depths": "Optional[Literal['convert', 'load']]",
        "include_tokens_per_second": "bool | str",
        "run_name": "Optional[str]",
        "save_steps": "Union[int, float]",
        "strange": "what is(this",
    },
    ("chatml", "llama3", "qwen", "qwen3"),
    "0.9.5",
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"adam_beta2": "0.95"}, 0.95),
        ({"adam_beta2": 1}, 1.0),
        ({"max_steps": "40"}, 40),
        ({"max_steps": 40.0}, 40),
        ({"use_dora": "yes"}, True),
        ({"use_dora": False}, False),
        ({"neftune_noise_alpha": 5}, 5.0),
        ({"include_tokens_per_second": "all"}, "all"),
        ({"include_tokens_per_second": "true"}, True),
        ({"run_name": 12}, "12"),
        ({"save_steps": 0.5}, 0.5),
        ({"save_steps": 5}, 5),
        ({"pref_loss": "orpo"}, "orpo"),
        ({"mixture_of_depths": "load"}, "load"),
        ({"deepspeed": {"zero": 3}}, {"zero": 3}),
        ({"flash_attn": "fa2"}, "fa2"),
        ({"strange": [1]}, [1]),
    ],
)
def test_values_are_converted_to_the_expected_type(given: dict[str, t.Any], expected: t.Any) -> None:
    checked = llamafactory_arguments.check_extra(given, SUPPORTED)
    value = next(iter(checked.values()))
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"adam_beta22": 1}, "Did you mean adam_beta2?"),
        ({"nothing_like_it": 1}, "no argument 'nothing_like_it'"),
        ({"max_steps": 1.5}, "max_steps must be int"),
        ({"max_steps": "inf"}, "max_steps must be int"),
        ({"max_steps": True}, "max_steps must be int"),
        ({"use_dora": 1}, "use_dora must be bool"),
        ({"adam_beta2": [1]}, "adam_beta2 must be float"),
        ({"run_name": {}}, "run_name must be str or None"),
        ({"pref_loss": "dpo"}, "one of sigmoid, orpo"),
    ],
)
def test_invalid_extra_is_rejected(given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        llamafactory_arguments.check_extra(given, SUPPORTED)
    assert message in str(caught.value)


def test_templates() -> None:
    llamafactory_arguments.check_template("qwen", SUPPORTED)
    with pytest.raises(InputError, match=r"0\.9\.5 has no chat template 'qwen25'") as caught:
        llamafactory_arguments.check_template("qwen25", SUPPORTED)
    assert "qwen" in caught.value.hint


def test_llamafactory_is_queried_only_when_needed() -> None:
    plain = hyperparameters.normalise({"lora_rank": 8})
    assert llamafactory_arguments.check(plain, "/nowhere") == plain
    for declared in ({"extra": {"optim": "sgd"}}, {"template": "qwen"}):
        with pytest.raises(NotReadyError, match="/nowhere"):
            llamafactory_arguments.check(hyperparameters.normalise(declared), "/nowhere")
    with pytest.raises(NotReadyError):
        llamafactory_arguments.read_arguments("")


def write_package(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


SOURCES = {
    "transformers/__init__.py": "raise ImportError('this must not be imported')",
    "transformers/training_args.py": """
@dataclass
class TrainingArguments:
    output_dir: str | None = field(default=None)
    optim: OptimizerNames | str = field(default="adamw")
    _hidden: int = field(init=False, default=1)
    KINDS: ClassVar[list[str]] = []
    plain = 3
""",
    "transformers/training_args_seq2seq.py": """
@dataclass
@add_start_docstrings(TrainingArguments.__doc__)
class Seq2SeqTrainingArguments(TrainingArguments):
    predict_with_generate: bool = field(default=False)
    optim: "int" = field(default=1)
""",
    "llamafactory/__init__.py": "raise ImportError('this must not be imported')",
    "llamafactory/hparams/training_args.py": """
if something:
    BaseTrainingArguments = Other
else:
    BaseTrainingArguments = Seq2SeqTrainingArguments
@dataclass
class RayArguments:
    ray_workers: int = field(default=1)
@dataclass
class TrainingArguments(RayArguments, BaseTrainingArguments):
    overwrite: bool = field(default=False)
""",
    "llamafactory/extras/constants.py": """
class Attention(StrEnum):
    FA2 = "fa2"
    OFF = "off"
class Number(Enum):
    ONE = 1
class Other:
    text = "x"
""",
    "llamafactory/hparams/model_args.py": """
class NotOne:
    nothing: int = 0
@dataclass
class ModelArguments(NotOne):
    model: str = field(default="")
    flash: Attention | None = field(default=None)
    number: Number = field(default=1)
@dataclass
class EvaluationArguments:
    not_for_training: int = 0
""",
    "llamafactory/hparams/parser.py": "_TRAIN_ARGS = [ModelArguments, TrainingArguments]\n_EVAL_ARGS = [Evaluation]",
    "llamafactory/data/template.py": "register_template(name='qwen', a=1)\nregister_template(name='chatml')",
}


def test_arguments_are_read_without_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_package(tmp_path, SOURCES)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(list_llamafactory_arguments.importlib.metadata, "version", lambda _name: "1.2.3")
    list_llamafactory_arguments.main()
    assert json.loads(capsys.readouterr().out) == {
        "arguments": {
            "model": "str",
            "flash": "Literal['fa2', 'off'] | None",
            "number": "Number",
            "output_dir": "str | None",
            "optim": "int",
            "predict_with_generate": "bool",
            "ray_workers": "int",
            "overwrite": "bool",
        },
        "templates": ["chatml", "qwen"],
        "version": "1.2.3",
    }


def test_values_of_an_enumeration_are_checked() -> None:
    """LLaMA-Factory's parser accepts any, and fails when it has loaded the model."""
    supported = LfArguments({"flash_attn": "Literal['auto', 'fa2']"}, ("qwen",), "1")
    assert llamafactory_arguments.check_extra({"flash_attn": "fa2"}, supported) == {"flash_attn": "fa2"}
    with pytest.raises(InputError, match="extra.flash_attn must be one of auto, fa2, not 'flash2'"):
        llamafactory_arguments.check_extra({"flash_attn": "flash2"}, supported)


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(SystemExit, match="llamafactory is not installed"):
        list_llamafactory_arguments.main()
