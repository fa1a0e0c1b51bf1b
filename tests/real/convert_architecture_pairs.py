# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert models twice, from merged weights and in one pass, and compare the tensors of the two files.

Usage: convert_architecture_pairs.py LLAMA_CPP_DIR PROGRAM ROOT ARCHITECTURE…. Run by the Python of the converter's
environment. PROGRAM is ``convert_with_adapter.py``; ``ROOT/ARCHITECTURE`` has what ``make_architecture_pairs.py``
wrote, ``changes.json`` and ``options.json`` (further arguments of the converter). Writes beside them ``merged.gguf``,
``passed.gguf``, their logs and ``compared.json``: the number of tensors, the largest difference relative to the largest
value of a tensor, and the tensor's name.

Each conversion runs in a fork of one process, so that PyTorch and transformers are imported once.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
import typing as t
from pathlib import Path


def in_fork(log: Path, function: t.Callable[[], None]) -> int:
    """Run a function in a child process; return its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        function()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(argv: list[str]) -> None:
    """Run a Python program in this process."""
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")


def compare(left: Path, right: Path) -> dict[str, t.Any]:
    """Compare the tensors of two files."""
    import gguf

    a, b = ({x.name: x.data.astype("f4") for x in gguf.GGUFReader(path).tensors} for path in (left, right))
    if set(a) != set(b):
        return {"missing": sorted(set(a) ^ set(b))}
    gaps = {name: float(abs(a[name] - b[name]).max() / max(float(abs(a[name]).max()), 1e-9)) for name in a}
    worst = max(gaps, key=gaps.__getitem__)
    return {"tensors": len(a), "gap": gaps[worst], "worst": worst, "differ": sum(gap > 0 for gap in gaps.values())}


def main(llama_cpp: str, program: str, root: str, *names: str) -> None:
    """Convert and compare each architecture."""
    sys.path[:0] = [llama_cpp, os.path.join(llama_cpp, "gguf-py")]
    import torch  # noqa: F401
    from conversion import base, gemma
    from transformers import AutoConfig, AutoTokenizer  # noqa: F401

    # the converter knows a split of text by the ids of one vocabulary only, which is not that of a tiny model
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
    # it takes only a vocabulary of SentencePiece
    gemma.Gemma2Model.set_vocab = lambda self: self._set_vocab_gpt2()
    converter = os.path.join(llama_cpp, "convert_hf_to_gguf.py")
    for name in names:
        here = Path(root, name)
        options = json.loads((here / "options.json").read_text(encoding="utf-8"))
        arguments = [*options, "--outtype", "f16", "--model-name", "tiny", "--outfile"]
        ways = {
            "merged": [converter, str(here / "merged"), *arguments, str(here / "merged.gguf")],
            "passed": [
                program, converter, str(here / "changes.json"),
                str(here / "base"), *arguments, str(here / "passed.gguf"),
            ],
        }  # fmt: skip
        statuses = {
            way: in_fork(here / f"{way}.log", lambda argv=argv: run(argv))  # type: ignore[misc]
            for way, argv in ways.items()
        }
        result: dict[str, t.Any] = {"statuses": statuses}
        if not any(statuses.values()):
            result.update(compare(here / "merged.gguf", here / "passed.gguf"))
        (here / "compared.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
