# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode changes no byte, and what it says would change is what does: over random declarations and histories.

``IA_CHECK_EXAMPLES`` (12): how many of each. The same on the real tools: ``tests/real/test_plays_real.py``.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import typing as t
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import model_files
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab
from ansible_collections.ia_homelab.llamafactory.tests.support.modules import call
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors

random_ones = settings(
    max_examples=int(os.environ.get("IA_CHECK_EXAMPLES", "12")),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes a second: what fails is small enough
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

# -- the engine, with trivial real commands ------------------------------------------------------------------------

#: What a step does: each number is another content, and with it another fingerprint; -1 fails.
SCRIPTS = st.integers(-1, 1)
RUN = st.tuples(st.lists(SCRIPTS, min_size=1, max_size=3), st.sampled_from(["probe", "light_probe"]))
EVENT = st.one_of(
    st.tuples(st.just("apply"), st.integers(0, 2)),
    st.tuples(st.just("lose"), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just("truncate"), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just("spoil"), st.integers(0, 2), st.integers(0, 2)),
)


def make_run(lab: Lab, number: int, declared: tuple[list[int], str]) -> Run:
    """A run as it is declared."""
    scripts, kind = declared
    texts = ["echo no >&2; exit 3" if script < 0 else f"echo {script} > out" for script in scripts]
    return lab.run(f"run-{number}", *texts, kind=kind, expects=["out"])


def happen(lab: Lab, runs: list[Run], event: tuple[t.Any, ...]) -> None:
    """Something that happened before."""
    run = runs[event[1] % len(runs)]
    if event[0] == "apply":
        lab.apply(run)
        return
    path = lab.artifact(run, event[2] % len(run.steps))
    if not path.is_dir():
        return
    if event[0] == "lose":
        (path / "out").unlink(missing_ok=True)
    elif event[0] == "truncate" and (path / "out").exists():
        (path / "out").write_text("")
    elif event[0] == "spoil":
        (path / "receipt.json").write_text("{")


def inodes(lab: Lab, run: Run) -> dict[str, int]:
    """Which directory each step's result is, by label: one that is made anew is another."""
    found = {}
    for index, step in enumerate(run.steps):
        path = lab.artifact(run, index)
        found[step.label] = path.stat().st_ino if path.is_dir() else 0
    return found


@random_ones
@given(declared=st.lists(RUN, min_size=1, max_size=2), history=st.lists(EVENT, max_size=4), again=st.booleans())
def test_the_engine(
    installed_core: Path, declared: list[tuple[list[int], str]], history: list[tuple[t.Any, ...]], again: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), installed_core)
        try:
            runs = [make_run(lab, number, one) for number, one in enumerate(declared)]
            for event in history:
                happen(lab, runs, event)
            for run in runs * (2 if again else 1):
                lab.wait(lambda: not lab.processes())  # everybody has left before we look
                before, was = lab.tree(), inodes(lab, run)
                foretold = lab.engine.preview(run)
                lab.engine.observe_all()
                assert lab.tree() == before, "looking wrote something"
                submission = lab.engine.submit(run)
                assert list(submission.pending) == foretold.pending
                view = lab.engine.follow(run.id, timeout=60, poll=0.02) if foretold.pending else submission.view
                made = [label for label, inode in inodes(lab, run).items() if inode not in (0, was[label])]
                if view.state == "succeeded":
                    assert made == foretold.pending
                    assert lab.engine.preview(run).pending == []
                else:
                    reached = foretold.pending.index(str((view.error or {})["step"]))
                    assert made == foretold.pending[:reached]
                    assert lab.engine.preview(run).pending == foretold.pending[reached:]
        finally:
            lab.close()


# -- the modules -----------------------------------------------------------------------------------------------------

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 16,
    "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 16,
    "tie_word_embeddings": True, "max_position_embeddings": 128,
}  # fmt: skip

TEXT = st.text("ab é\n", max_size=4)
ROW = st.one_of(
    st.fixed_dictionaries(
        {"instruction": TEXT.map("Demande {}".format), "output": TEXT.map("Réponse {}".format)},
        optional={"system": st.just("Tu es bref."), "input": TEXT},
    ),
    st.fixed_dictionaries({"instruction": TEXT, "output": st.one_of(TEXT, st.none(), st.integers())}),
)
DECLARED = st.fixed_dictionaries(
    {"name": st.sampled_from(["one", "two"]), "base_model": st.sampled_from(["base-0", "base-1"])},
    optional={
        "method": st.sampled_from(["lora", "full", "auto", "freeze", "prompt_tuning"]),
        "learning_rate": st.sampled_from(["2e-4", 0.0002, 1e-3, 0]),
        "epochs": st.sampled_from([1, "1.0", 3]),
        "lora_rank": st.sampled_from([8, "8", 16]),
        "quantization": st.sampled_from(["q4_K_M", "Q4_k_m", "q8_0", "q9"]),
        "regenerate": st.just("on_change"),
        "template": st.sampled_from(["qwen", "llama3"]),
    },
)


def make_base(root: Path, value: float) -> None:
    """A model's directory as far as anything looks at it before LLaMA-Factory does."""
    root.mkdir()
    (root / "config.json").write_text(json.dumps(CONFIG))
    (root / "tokenizer_config.json").write_text(json.dumps({"chat_template": "<|im_start|>{{ role }}"}))
    raw = struct.pack("<128f", *[value] * 128)
    write_safetensors(root / "model.safetensors", {"model.embed_tokens.weight": ("F32", [16, 8], raw)})


def both(lab: Lab, name: str, arguments: dict[str, t.Any]) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """What a module says in check mode, which must change nothing, and what it says when it is meant."""
    before = lab.tree() if lab.data.exists() else None
    foretold = call(name, arguments, check=True, diff=True)
    assert (lab.tree() if lab.data.exists() else None) == before, f"check mode of {name} wrote something"
    return foretold, call(name, arguments, diff=True)


@random_ones
@given(rounds=st.lists(st.tuples(st.lists(ROW, max_size=4), DECLARED), min_size=1, max_size=3))
def test_the_modules(installed_core: Path, rounds: list[tuple[list[dict[str, t.Any]], dict[str, t.Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(2):
            make_base(root / f"base-{number}", float(number))
        lab = Lab(root, installed_core)
        try:
            for rows, declared in rounds:
                dataset = {"name": "prompts", "records": rows, "data_dir": str(lab.data)}
                foretold, real = both(lab, "dataset", dataset)
                for key in ("failed", "msg", "changed", "fingerprint", "reasons", "rows"):
                    assert foretold.get(key) == real.get(key), key
                if real.get("failed"):
                    continue
                assert call("dataset", dataset, check=True)["changed"] is False
                follow_finetune(lab, root, real, declared)
        finally:
            lab.close()


def follow_finetune(lab: Lab, root: Path, dataset: dict[str, t.Any], declared: dict[str, t.Any]) -> None:
    """Ask for a fine-tune whose tools are not there: its base is made, its training is not."""
    finetune = {**declared, "base_model": str(root / declared["base_model"]), "dataset": "prompts", "register": False}
    finetune.pop("regenerate", None)
    arguments = {
        "data_dir": str(lab.data), "state": "submitted", "finetunes": [finetune], "datasets": {"prompts": dataset},
        "accelerator": "cpu", "toolchain": {"llamafactory_venv": str(root / "nothing")},
    }  # fmt: skip
    foretold, real = both(lab, "job", arguments)
    for key in ("failed", "msg", "changed"):
        assert foretold.get(key) == real.get(key), key
    if real.get("failed"):
        return
    (will,), (did,) = foretold["runs"], real["runs"]
    assert will["pending"] == did["pending"]
    assert will["id"] == did["id"]
    assert [step["fingerprint"] for step in will["steps"]] == [step["fingerprint"] for step in did["steps"]]
    ended = call("job", {"data_dir": str(lab.data), "run": did["id"]})["runs"][0]
    assert ended["state"] == "failed" and (ended["error"] or {}).get("step") == "train", ended
    assert lab.broken() == []
    made = [step["label"] for step in ended["steps"] if step["state"] == "whole"]
    left = call("job", arguments, check=True)["runs"][0]["pending"]
    assert left == [label for label in will["pending"] if label not in made]
    assert left == [label for label in will["pending"] if label != "base"]


def test_what_has_not_changed_is_not_read_again(lab: Lab, tmp_path: Path) -> None:
    """While size, modification time and inode stand, no weights are hashed: not to look, and not to apply."""
    make_base(tmp_path / "base", 1.0)
    weights = tmp_path / "base" / "model.safetensors"
    rows = [{"instruction": "Qui es-tu ?", "output": "L'assistant du homelab."}]
    dataset = call("dataset", {"name": "prompts", "records": rows, "data_dir": str(lab.data)})
    arguments = {
        "data_dir": str(lab.data), "state": "submitted", "accelerator": "cpu", "datasets": {"prompts": dataset},
        "finetunes": [
            {"name": "one", "base_model": str(tmp_path / "base"), "dataset": "prompts", "template": "qwen",
             "method": "lora", "register": False}
        ],
        "toolchain": {"llamafactory_venv": str(tmp_path / "nothing")},
    }  # fmt: skip
    first = call("job", arguments)["runs"][0]
    call("job", {"data_dir": str(lab.data), "run": first["id"]})
    with mock.patch.object(model_files, "sha256_file", side_effect=AssertionError("it was read again")) as reader:
        for check in (True, False):
            assert call("job", arguments, check=check)["runs"][0]["id"] == first["id"]
        assert not reader.called
    call("job", {"data_dir": str(lab.data), "run": first["id"]})
    facts, content = weights.stat(), weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:-4] + b"\0\0\0\1")
    os.utime(weights, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert weights.stat().st_size == facts.st_size
    if weights.stat().st_ino != facts.st_ino:
        assert call("job", arguments, check=True)["runs"][0]["id"] != first["id"], (
            "another file of the same age and size"
        )
    weights.write_bytes(content)
    os.utime(weights, ns=(1, 1))
    with mock.patch.object(model_files, "sha256_file", wraps=model_files.sha256_file) as reader:
        assert call("job", arguments, check=True)["runs"][0]["id"] == first["id"]
        assert [os.path.basename(read.args[0]) for read in reader.call_args_list].count("model.safetensors") == 1
