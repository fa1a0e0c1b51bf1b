# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converts a model to GGUF and compares the tokenizer used in training with the one used in serving.

Run as a script by the Python of the converter's virtual environment (transformers): ``compare_tokenizers.py REQUEST``.
The request is a JSON file: ``convert`` (a Python program to run first, with its arguments; may be empty),
``gguf_package`` (directory with the package ``gguf`` that it uses) and ``bpe_with_bos`` (see :func:`state_bos`),
``tokenizer`` (directory of the Hugging Face tokenizer), ``gguf``, ``llama_tokenize`` (program), ``alone`` and
``together`` (texts, see :func:`compare`), ``report`` (file for the result).
Exit status: that of the program when it fails; else 0, even when the tokenizers differ, which the report states.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import resource
import runpy

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import sys
import typing as t

_IDS = re.compile(r"^\[[\d, ]*\]$", re.MULTILINE)

#: Maximum number of special tokens to compare.
_MAX_SPECIAL_TOKENS = 16


def served_ids(program: str, gguf: str, text: str) -> list[int]:
    """Token ids of a text as llama.cpp computes them, without a BOS token.

    :raises RuntimeError: when ``llama-tokenize`` fails.
    """
    argv = [program, "-m", gguf, "--stdin", "--ids", "--no-bos", "--no-escape", "--log-disable"]
    process = subprocess.run(argv, input=text.encode("utf-8"), capture_output=True, check=False)
    matches = _IDS.findall(process.stdout.decode("utf-8", "replace"))
    if process.returncode or not matches:
        stderr = process.stderr.decode("utf-8", "replace").strip()[-500:]
        raise RuntimeError(f"llama-tokenize ended with status {process.returncode}: {stderr}")
    ids: list[int] = json.loads(matches[-1])
    return ids


def load() -> None:
    """Import the modules of conversion and comparison, and exclude them from garbage collection, as all stay in use."""
    gc.disable()
    with contextlib.suppress(ImportError):  # the code that needs a missing module reports it
        import torch  # noqa: F401
        from transformers import AutoConfig, AutoTokenizer  # noqa: F401
    gc.freeze()
    gc.enable()


def state_bos(gguf_package: str, bpe_with_bos: t.Sequence[str]) -> None:
    """Have the converter write that no BOS token is put before prompts, where a tokenizer's files say nothing of it.

    Newer versions of transformers save such files. llama.cpp then decides by how a vocabulary splits text; Ollama's own
    engine, with which older versions run some architectures, puts a BOS token before every prompt.

    :param gguf_package: directory with the package ``gguf``.
    :param bpe_with_bos: names of the splits of text for which llama.cpp adds one.
    """
    sys.path.insert(0, gguf_package)
    try:
        from gguf import vocab
    except ImportError:  # the converter reports it
        return
    finally:
        sys.path.remove(gguf_package)
    write = vocab.SpecialVocab.add_to_gguf

    def add_to_gguf(self: t.Any, gw: t.Any, *args: t.Any, **kwargs: t.Any) -> None:
        write(self, gw, *args, **kwargs)
        written = {key: value.value for part in gw.kv_data for key, value in part.items()}
        if (
            "tokenizer.ggml.add_bos_token" not in written
            and written.get("tokenizer.ggml.model") == "gpt2"
            and written.get("tokenizer.ggml.pre") not in bpe_with_bos
        ):
            gw.add_add_bos_token(False)

    vocab.SpecialVocab.add_to_gguf = add_to_gguf


def run_program(argv: t.Sequence[str]) -> None:
    """Run a Python program in this process.

    The program and the comparison both need PyTorch and transformers, whose import takes longer than most of the work.

    :raises SystemExit: when the program exits with an error.
    """
    saved = sys.argv, list(sys.path)
    sys.argv, sys.path[0] = list(argv), os.path.dirname(os.path.abspath(argv[0]))
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    finally:
        sys.argv, sys.path[:] = saved


def load_tokenizer(directory: str) -> t.Any:
    """Load a Hugging Face tokenizer; without its configuration when that was written by an incompatible version."""
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(directory)
    except (ValueError, OSError):
        path = os.path.join(directory, "tokenizer.json")
        if not os.path.exists(path):
            raise
        return transformers.PreTrainedTokenizerFast(tokenizer_file=path)


def special_tokens(tokenizer: t.Any) -> list[str]:
    """The special tokens of a chat, without padding and unknown, which never occur in one."""
    excluded = {tokenizer.unk_token, tokenizer.pad_token} - {tokenizer.eos_token, tokenizer.bos_token}
    tokens = [str(token) for token in tokenizer.all_special_tokens if token not in excluded]
    return list(dict.fromkeys(tokens))[:_MAX_SPECIAL_TOKENS]


def compare(
    trained: t.Callable[[str], list[int]],
    served: t.Callable[[str], list[int]],
    individual: t.Sequence[str],
    batched: t.Sequence[str] = (),
) -> list[dict[str, t.Any]]:
    """Find the texts whose token ids differ.

    :param trained: computes the ids of a text in training.
    :param served: computes the ids of a text in serving.
    :param individual: texts to compare one by one.
    :param batched: texts to compare in one call, because each call loads the vocabulary again.
    :returns: one entry for each differing text: ``text``, and its ids as ``trained`` and ``served``.
    """
    wrong = _differences(trained, served, individual)
    joined = "\n".join(batched)
    if joined and trained(joined) != served(joined):
        wrong += _differences(trained, served, batched) or _differences(trained, served, [joined])
    return wrong


def _differences(
    trained: t.Callable[[str], list[int]], served: t.Callable[[str], list[int]], texts: t.Iterable[str]
) -> list[dict[str, t.Any]]:
    pairs = ((text, trained(text), served(text)) for text in texts)
    return [{"text": text, "trained": left, "served": right} for text, left, right in pairs if left != right]


def main(path: str) -> int:
    """Run a request.

    :param path: the request file.
    """
    with open(path, encoding="utf-8") as stream:
        request = json.load(stream)
    if request.get("convert"):
        if request.get("gguf_package"):
            state_bos(request["gguf_package"], request["bpe_with_bos"])
        run_program(request["convert"])
    # of the conversion: the tokenizers need less
    peak_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tokenizer = load_tokenizer(request["tokenizer"])

    def trained(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return ids

    def served(text: str) -> list[int]:
        return served_ids(request["llama_tokenize"], request["gguf"], text)

    texts = [*request["alone"], *special_tokens(tokenizer)]
    wrong = compare(trained, served, texts, request["together"])
    report = {
        "peak_bytes": 1024 * peak_kilobytes,
        "compared": len(texts) + len(request["together"]),
        "wrong": wrong[:20],
        "count": len(wrong),
    }
    with open(request["report"], "w", encoding="utf-8") as stream:
        json.dump(report, stream, ensure_ascii=False)
    sys.stdout.write(f"Tokenizers compared on {report['compared']} texts: {len(wrong)} differ.\n")
    return 0


if __name__ == "__main__":
    load()
    STATUS = main(sys.argv[1])
    sys.stdout.flush()
    # everything is written: a regular shutdown of PyTorch would take a second, with no benefit
    os._exit(STATUS)
