# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LLaMA-Factory and the base are asked about a declaration once. tests/real asks the real ones."""

from __future__ import annotations

import json
import os
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import check_training
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import training_check
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import (
    normalise,
    resolved,
)

#: Answers as the file beside it says, after output of other programs, and records each question.
PYTHON = """#!/bin/sh
for question; do :; done
printf '%s\\n' "$question" >> {root}/questions
echo "[INFO] much is said"
test -e {root}/answer && cat {root}/answer
"""


class Tools:
    """A stand-in for LLaMA-Factory's interpreter, and a data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(str(root / "data"))
        python = root / "venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        (root / "venv" / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
        python.write_text(PYTHON.format(root=root))
        python.chmod(0o755)
        self.answers()

    def answers(self, refused: str = "", missing: t.Sequence[str] = ()) -> None:
        """Set the next answers."""
        answer = {"refused": refused, "missing": list(missing), "modules": ["k_proj", "q_proj"]}
        (self.root / "answer").write_text(check_training.MARK + json.dumps(answer) + "\n")

    def check(self, base: str = "/base", fingerprint: str = "ab", write: bool = True, **declared: t.Any) -> str:
        """The warning for a declaration as text."""
        values = resolved(normalise({"template": "qwen", **declared}))
        tools = Toolchain(str(self.root / "venv"))
        return str(training_check.check(self.layout, values, base, fingerprint, tools, write) or "")

    @property
    def questions(self) -> list[dict[str, t.Any]]:
        """What was asked."""
        path = self.root / "questions"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path)


def test_what_this_program_checks_itself_is_not_asked(tools: Tools) -> None:
    for declared in ({}, {"method": "qlora"}, {"lora_target": "all"}, {"extra": {"deepspeed": "/ds.json"}}):
        assert tools.check(**t.cast(t.Any, declared)) == ""
    assert tools.questions == []


def test_the_parser_is_asked_for_extra(tools: Tools) -> None:
    """With all arguments of the training, but those that depend on the device."""
    assert tools.check(method="qlora", extra={"neftune_noise_alpha": 5, "pure_bf16": True}, gpus=2) == ""
    (question,) = tools.questions
    arguments = question["arguments"]
    assert (arguments["neftune_noise_alpha"], arguments["quantization_bit"], arguments["stage"]) == (5, 4, "sft")
    assert arguments["use_cpu"] and not {"bf16", "pure_bf16", "eval_dataset"} & set(arguments)
    assert (question["targets"], question["saved"], question["base"]) == ([], [], "")
    tools.check(validation_share=0.1, extra={"eval_steps": 5})
    assert tools.questions[1]["arguments"]["eval_dataset"] == "checked"


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("Please make sure eval_dataset be provided or val_size >1e-6", "Declare validation_share"),
        ("Cannot use LoRA with GaLore together.", "Change or leave out of extra: eval_strategy."),
    ],
)
def test_a_refusal(tools: Tools, said: str, hint: str) -> None:
    tools.answers(refused=said)
    with pytest.raises(InputError, match="LLaMA-Factory refuses these arguments: ") as caught:
        tools.check(extra={"eval_strategy": "steps"})
    assert said in caught.value.message and hint in caught.value.hint


def test_modules_that_the_base_has_not(tools: Tools) -> None:
    tools.answers(missing=["q_prj"])
    with pytest.raises(InputError, match="has no modules 'q_prj'") as caught:
        tools.check(lora_target="q_prj,k_proj", extra={"additional_target": "embed_tokens, lm_head"})
    assert "Its linear modules are: k_proj, q_proj." in caught.value.hint
    (question,) = tools.questions
    assert (question["targets"], question["saved"]) == (["k_proj", "q_prj"], ["embed_tokens", "lm_head"])
    assert question["base"] == "/base"


def test_an_answer_is_kept_for_declaration_base_and_tools(tools: Tools) -> None:
    def asked(**more: t.Any) -> int:
        tools.check(lora_target="q_proj", **more)
        return len(tools.questions)

    assert [asked(write=False), asked(write=False)] == [1, 2], "check mode keeps nothing"
    assert not os.path.exists(tools.layout.path("cache"))
    assert [asked(), asked(), asked(base="/moved")] == [3, 3, 3]
    assert asked(fingerprint="cd") == 4
    assert [asked(epochs=5), asked(seed=1)] == [4, 4], "they say nothing about modules"
    os.utime(tools.root / "venv" / "lib" / "python3.11" / "site-packages", ns=(1, 1))
    assert asked() == 5


def test_a_refusal_is_kept_too(tools: Tools) -> None:
    tools.answers(refused="no")
    for _number in range(2):
        with pytest.raises(InputError):
            tools.check(extra={"use_galore": True})
    assert len(tools.questions) == 1


def test_what_cannot_be_asked_is_a_warning(tools: Tools) -> None:
    assert "modules q_proj is not checked" in tools.check(base="", lora_target="q_proj")
    assert tools.questions == []
    (tools.root / "answer").write_text("Traceback\n")
    assert "q_proj: not checked" in tools.check(lora_target="q_proj")
    assert "q_proj: not checked" in tools.check(lora_target="q_proj")
    assert len(tools.questions) == 2, "no answer is not kept"
    (tools.root / "venv" / "bin" / "python").unlink()
    assert "optim: not checked" in tools.check(extra={"optim": "sgd"})


def test_code_of_the_repository_is_not_run(tools: Tools) -> None:
    assert tools.check(lora_target="q_proj", extra={"trust_remote_code": True}) == ""
    assert tools.questions == []


def test_names_are_compared_as_peft_does() -> None:
    classes = {
        "": "Model", "model.embed_tokens": "Embedding", "model.layers.0.self_attn": "Attention",
        "model.layers.0.self_attn.q_proj": "Linear", "model.layers.0.mlp.up_proj": "Linear8bitLt", "lm_head": "Linear",
    }  # fmt: skip
    found = check_training.look_up(classes, ["q_proj", "self_attn.q_proj", "self_attn", "proj", "lm_head"], ["lm"])
    assert found == {"missing": ["self_attn", "proj", "lm"], "modules": ["q_proj", "up_proj"]}
    assert check_training.look_up(classes, ["embed_tokens"], ["self_attn"])["missing"] == []


def test_the_program_answers_in_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a stand-in for LLaMA-Factory's parser."""
    (tmp_path / "llamafactory").mkdir()
    (tmp_path / "llamafactory" / "__init__.py").touch()
    (tmp_path / "llamafactory" / "hparams.py").write_text(
        "def get_train_args(args):\n    print('noise')\n    if args['optim'] == 'x': raise ValueError('no\\n  optim')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for optimizer, refused in (("x", "no optim"), ("sgd", "")):
        check_training.main({"arguments": {"optim": optimizer}, "base": "", "targets": [], "saved": []})
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "noise"
        answer = json.loads(lines[-1].removeprefix(check_training.MARK))
        assert answer == {"refused": refused, "missing": [], "modules": []}
    for name in [name for name in sys.modules if name.partition(".")[0] == "llamafactory"]:
        del sys.modules[name]


def test_an_answer_that_is_nested_too_deeply_is_none() -> None:
    assert training_check._parse(f"{check_training.MARK}{'[' * 100_000}".encode()) is None
