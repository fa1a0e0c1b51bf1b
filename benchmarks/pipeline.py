# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``finetune.yml`` from nothing, compared with the same commands run by hand, one after the other.

Both train the same adapter on the same rows, merge it, restore the tokenizer, convert, quantize, and create the model
in Ollama. What the collection does in addition (checking the data, comparing token ids, hashing, receipts) counts
against it. ``IA_BENCHMARK_EPOCHS`` (32): duration of the training, about half a minute on one processor.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import typing as t
from pathlib import Path

from lab import Played, PlayLab, compare, interleaved, run, workplace

from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import PROMPTS

TIMES = int(os.environ.get("IA_BENCHMARK_TIMES", "3"))
EPOCHS = float(os.environ.get("IA_BENCHMARK_EPOCHS", "32"))

TOKENIZER = (
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


def by_hand(lab: PlayLab, work: Path) -> None:
    """Run the commands that an experienced user would type."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    declared = lab.declared["finetunes"][0]
    venv = os.environ["IA_LF_VENV"]
    base = in_float32(declared["base_model"], work / "base")
    cli, llama_cpp = os.path.join(venv, "bin", "llamafactory-cli"), os.environ["IA_LLAMA_CPP_DIR"]
    columns = {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": None}
    (work / "dataset_info.json").write_text(
        json.dumps({"prompts": {"file_name": str(PROMPTS), "formatting": "alpaca", "columns": columns}})
    )
    same = {"model_name_or_path": base, "template": "qwen", "finetuning_type": "lora"}
    write_yaml(
        work / "train.yaml",
        {
            **same, "stage": "sft", "do_train": True, "dataset": "prompts", "dataset_dir": str(work), "lora_rank": 16,
            "lora_alpha": 32, "lora_target": "all", "cutoff_len": 512, "output_dir": str(work / "adapter"),
            "per_device_train_batch_size": 10, "gradient_accumulation_steps": 1, "num_train_epochs": EPOCHS,
            "learning_rate": 0.002, "lr_scheduler_type": "cosine", "logging_steps": 1, "save_steps": 500,
            "plot_loss": True, "report_to": "none", "use_cpu": True, "include_num_input_tokens_seen": True,
        },
    )  # fmt: skip
    write_yaml(
        work / "export.yaml",
        {
            **same, "adapter_name_or_path": str(work / "adapter"), "export_dir": str(work / "merged"),
            "export_size": 5, "export_device": "cpu", "export_legacy_format": False,
        },
    )  # fmt: skip
    env = {
        **os.environ, "PATH": os.path.join(venv, "bin") + os.pathsep + os.environ["PATH"], "OMP_NUM_THREADS": "1",
        "DISABLE_VERSION_CHECK": "1", "HF_HUB_OFFLINE": "1", "OLLAMA_HOST": lab.server.url.partition("//")[2],
    }  # fmt: skip
    run([cli, "train", str(work / "train.yaml")], env=env, cwd=work)
    run([cli, "export", str(work / "export.yaml")], env=env, cwd=work)
    for name in TOKENIZER:
        if (Path(base) / name).exists():
            shutil.copy(Path(base) / name, work / "merged" / name)
    converter = os.path.join(os.environ["IA_CONV_VENV"], "bin", "python")
    half, small = str(work / "f16.gguf"), str(work / "q4_K_M.gguf")
    run([converter, f"{llama_cpp}/convert_hf_to_gguf.py", str(work / "merged"), "--outtype", "f16", "--outfile", half])
    run([f"{llama_cpp}/bin/llama-quantize", half, small, "q4_K_M"])
    turn = "<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n"
    (work / "Modelfile").write_text(
        f'FROM {small}\nTEMPLATE """{{{{ range .Messages }}}}{turn}{{{{ end }}}}<|im_start|>assistant\n"""\n'
        "PARAMETER stop <|im_end|>\n"
    )
    run([os.environ["IA_OLLAMA_BIN"], "create", "by-hand", "-f", str(work / "Modelfile")], env=env, cwd=work)


def in_float32(base: str, target: Path) -> str:
    """Copy the base with float32 in ``config.json``: LLaMA-Factory loads the type named there, and a processor without
    instructions for half precision trains a hundred times slower in it."""
    target.mkdir()
    for path in Path(base).iterdir():
        (target / path.name).symlink_to(path)
    config = json.loads((target / "config.json").read_text())
    config.update(dict.fromkeys({"torch_dtype", "dtype"} & config.keys(), "float32"))
    (target / "config.json").unlink()
    (target / "config.json").write_text(json.dumps(config))
    return str(target)


def write_yaml(path: Path, settings: t.Mapping[str, t.Any]) -> None:
    """Write YAML with one line per key, as LLaMA-Factory requires."""
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()))


def from_nothing(lab: PlayLab) -> Played:
    """Run the play on a host without results."""
    shutil.rmtree(lab.data, ignore_errors=True)
    for name in lab.tags():
        lab.ollama.delete(name)
    return lab.play().well()


def main() -> None:
    """Run both alternately, several times."""
    with workplace() as lab:
        lab.declared["finetunes"][0].update(epochs=EPOCHS, lora_rank=16)
        what, against = "finetune.yml, from nothing", "bare commands"
        found = interleaved(
            {against: lambda: by_hand(lab, lab.root / "by-hand"), what: lambda: from_nothing(lab)}, TIMES
        )
        compare(found, what, against)
        pairs = list(zip(found[what], found[against]))
        more = statistics.median(a.wall - b.wall for a, b in pairs)
        allowed = statistics.median(0.03 * b.wall + 5 for _a, b in pairs)
        print(f"more than by hand: {more:.1f} s (allowed: 3 % + 5 s = {allowed:.1f} s)")


if __name__ == "__main__":
    main()
