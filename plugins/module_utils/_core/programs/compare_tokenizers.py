# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert a model to GGUF and compare the two tokenizers: the one it was trained with, the one it will be served with.

Run as a script by the Python of the converter's virtual environment (transformers): ``compare_tokenizers.py REQUEST``.
The request is a JSON file: ``convert`` (a Python program to run first, with its arguments, or nothing), ``tokenizer``
(directory of the Hugging Face tokenizer), ``gguf``, ``llama_tokenize`` (program), ``alone`` and ``together`` (texts,
see :func:`compare`), ``report`` (file to write what was found to).
Exit status: that of the program where it fails; else 0, whether the tokenizers agree or not: the report tells.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import runpy
import subprocess
import sys
import typing as t

_IDS = re.compile(r"^\[[\d, ]*\]$", re.MULTILINE)

#: Special tokens that are looked at, each on its own.
_MOST_SPECIAL = 16


def served_ids(program: str, gguf: str, text: str) -> list[int]:
    """Token ids of a text as llama.cpp has them, without a BOS.

    :raises RuntimeError: when ``llama-tokenize`` fails.
    """
    argv = [program, "-m", gguf, "--stdin", "--ids", "--no-bos", "--no-escape", "--log-disable"]
    done = subprocess.run(argv, input=text.encode("utf-8"), capture_output=True, check=False)
    found = _IDS.findall(done.stdout.decode("utf-8", "replace"))
    if done.returncode or not found:
        said = done.stderr.decode("utf-8", "replace").strip()[-500:]
        raise RuntimeError(f"llama-tokenize ended with status {done.returncode}: {said}")
    ids: list[int] = json.loads(found[-1])
    return ids


def load() -> None:
    """Import what the conversion and the comparison need. All of it stays: no garbage is looked for among it."""
    gc.disable()
    with contextlib.suppress(ImportError):  # whoever needs what is not there says so
        import torch  # noqa: F401
        from transformers import AutoConfig, AutoTokenizer  # noqa: F401
    gc.freeze()
    gc.enable()


def run_program(argv: t.Sequence[str]) -> None:
    """Run a Python program in this very process: it loads PyTorch and transformers, which takes longer than most of
    what they are wanted for, and the comparison needs them, too.

    :raises SystemExit: when it ends with anything but success.
    """
    before = sys.argv, list(sys.path)
    sys.argv, sys.path[0] = list(argv), os.path.dirname(os.path.abspath(argv[0]))
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    finally:
        sys.argv, sys.path[:] = before


def load_tokenizer(directory: str) -> t.Any:
    """The tokenizer as Hugging Face has it; where only its configuration is of another version, the bare one."""
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(directory)
    except (ValueError, OSError):
        path = os.path.join(directory, "tokenizer.json")
        if not os.path.exists(path):
            raise
        return transformers.PreTrainedTokenizerFast(tokenizer_file=path)


def special_tokens(tokenizer: t.Any) -> list[str]:
    """The special tokens a chat is made of; padding and unknown are never written into one."""
    left_out = {tokenizer.unk_token, tokenizer.pad_token} - {tokenizer.eos_token, tokenizer.bos_token}
    found = [str(token) for token in tokenizer.all_special_tokens if token not in left_out]
    return list(dict.fromkeys(found))[:_MOST_SPECIAL]


def compare(
    trained: t.Callable[[str], list[int]],
    served: t.Callable[[str], list[int]],
    alone: t.Sequence[str],
    together: t.Sequence[str] = (),
) -> list[dict[str, t.Any]]:
    """The texts whose ids differ, with both.

    :param trained: ids of a text in training.
    :param served: ids of a text when served.
    :param alone: texts that are compared each on its own.
    :param together: texts that are compared in one go, because the vocabulary is loaded anew for each.
    """
    wrong = _differing(trained, served, alone)
    joined = "\n".join(together)
    if joined and trained(joined) != served(joined):
        wrong += _differing(trained, served, together) or _differing(trained, served, [joined])
    return wrong


def _differing(
    trained: t.Callable[[str], list[int]], served: t.Callable[[str], list[int]], texts: t.Iterable[str]
) -> list[dict[str, t.Any]]:
    pairs = ((text, trained(text), served(text)) for text in texts)
    return [{"text": text, "trained": left, "served": right} for text, left, right in pairs if left != right]


def main(path: str) -> int:
    """Do what a request asks for."""
    with open(path, encoding="utf-8") as stream:
        request = json.load(stream)
    if request.get("convert"):
        run_program(request["convert"])
    tokenizer = load_tokenizer(request["tokenizer"])

    def trained(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return ids

    def served(text: str) -> list[int]:
        return served_ids(request["llama_tokenize"], request["gguf"], text)

    alone = [*request["alone"], *special_tokens(tokenizer)]
    wrong = compare(trained, served, alone, request["together"])
    report = {"compared": len(alone) + len(request["together"]), "wrong": wrong[:20], "count": len(wrong)}
    with open(request["report"], "w", encoding="utf-8") as stream:
        json.dump(report, stream, ensure_ascii=False)
    sys.stdout.write(f"Tokenizers compared on {report['compared']} texts: {len(wrong)} differ.\n")
    return 0


if __name__ == "__main__":
    load()
    STATUS = main(sys.argv[1])
    sys.stdout.flush()
    # all is written: taking PyTorch down in good order takes a second, and puts nothing in order
    os._exit(STATUS)
