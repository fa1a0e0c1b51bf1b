# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create a tiny base model: Llama architecture, random weights, a vocabulary trained on a file of prompts.

It knows nothing, and is small enough to be fine-tuned, merged, converted, quantized and served on any CPU in
seconds, through the very steps a real base goes through. Run it with the Python of LLaMA-Factory's virtual
environment (sentencepiece, tokenizers, torch, transformers)::

    python make_tiny_base.py --output ~/models/tiny-base --prompts homelab_prompts.json homelab_tool_prompts.json

The result is deterministic: same prompts, options and library versions, same bytes. It is made aside and renamed,
so that what stands under ``--output`` is always whole. What already stands there is kept when it was made with the
same options (a base does not follow the data: edited prompts keep it too), and refused when not, unless
``--replace`` is given.

The first word of the output is ``made`` or ``kept``. Exit status: 0 for both, 1 with the reason on standard error,
2 for a mistake on the command line.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import sys
import typing as t

from tiny_base_texts import TOOL_PROMPT, TinyBaseError, as_json, load_list, load_texts

#: The receipt in the finished directory, written last: options, and the digest of every other file.
RECEIPT = "tiny_base.json"

#: Increased when the output for the same options changes.
RECIPE = 2

#: ChatML's tokens, as Qwen names them: padding, start of a turn, end of a turn.
PAD, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL_TOKENS = (PAD, TURN_START, TURN_END)
UNKNOWN = "<unk>"

#: SentencePiece writes a space as this character.
SPACE = "\u2581"

#: ChatML with tools, as models of today have it: without tools it is what LLaMA-Factory's template ``qwen`` renders. A
#: server that finds tools in it may prefer it to the template that a model is registered with.
CHAT_TEMPLATE = (
    "{% if tools %}"
    "{{ '<|im_start|>system\\n' }}"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\\n\\n' }}{% endif %}"
    "{{ 'Tools that you may call:\\n<tools>' }}"
    "{% for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor %}"
    "{{ '\\n</tools>\\nWrite a call as <tool_call>\\n{...}\\n</tool_call>.<|im_end|>\\n' }}"
    "{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'tool' %}"
    "{{ '<|im_start|>user\\n<tool_response>\\n' + message['content'] + '\\n</tool_response><|im_end|>\\n' }}"
    "{% elif message.tool_calls %}"
    "{{ '<|im_start|>assistant\\n' + (message['content'] or '') }}"
    "{% for call in message.tool_calls %}"
    '{{ \'<tool_call>\\n{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{ call.function.arguments | tojson }}{{ '}\\n</tool_call>' }}"
    "{% endfor %}{{ '<|im_end|>\\n' }}"
    "{% elif not (tools and loop.first and message['role'] == 'system') %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

#: How often the texts of tools are learnt, compared with those of rows.
_TOOL_WEIGHT = 8

#: Additional texts for the comparison of the two tokenizers, which the vocabulary was not trained on.
PROBES = (
    "zÿ 日本 🚀  double  spaces\nnewline\ttab",
    " leading and trailing ",
    "don't l'outil L\u2019OUTIL ÉÈÀÇ œ 1234567890 https://nas.home.arpa:8443/api?x=1&y=%20",
    "\n\n",
)


def parse_arguments(argv: t.Sequence[str] | None = None) -> argparse.Namespace:
    """The command line.

    :param argv: arguments without the program's name; None for the process's own.
    """
    parser = argparse.ArgumentParser(
        description="Make a tiny base model with random weights and a vocabulary learnt from prompts.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="directory to create")
    parser.add_argument(
        "--prompts", required=True, nargs="+", metavar="FILE", help="JSON lists of alpaca rows, or of OpenAI's messages"
    )
    parser.add_argument("--tools", nargs="*", default=[], metavar="FILE", help="JSON lists of the tools of the prompts")
    parser.add_argument("--replace", action="store_true", help="replace an existing directory")
    shape = parser.add_argument_group("shape", "K-quants need --hidden and --ffn divisible by 256.")
    shape.add_argument("--hidden", type=int, default=256, help="width of the residual stream")
    shape.add_argument("--ffn", type=int, default=512, help="width of the feed-forward layers")
    shape.add_argument("--layers", type=int, default=1, help="transformer blocks")
    shape.add_argument("--heads", type=int, default=4, help="attention heads")
    shape.add_argument("--kv-heads", type=int, default=2, help="key and value heads")
    shape.add_argument("--context", type=int, default=2048, help="longest sequence, in tokens")
    shape.add_argument("--vocabulary", type=int, default=1500, help="pieces at most (260 are bytes and control tokens)")
    weights = parser.add_argument_group("weights", "With the usual 0.02 a LoRA on random weights learns nothing.")
    weights.add_argument("--linear-std", type=float, default=0.1, help="standard deviation of the linear layers")
    weights.add_argument("--embedding-std", type=float, default=0.2, help="standard deviation of the embeddings")
    weights.add_argument("--seed", type=int, default=0, help="seed of the random weights")
    arguments = parser.parse_args(argv)
    for name in ("hidden", "ffn", "layers", "heads", "kv_heads", "context"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if arguments.hidden % (2 * arguments.heads) or arguments.heads % arguments.kv_heads:
        parser.error("--hidden must be divisible by twice --heads, and --heads by --kv-heads")
    if arguments.vocabulary < 300:
        parser.error("--vocabulary must be at least 300")
    return arguments


def options_of(arguments: argparse.Namespace) -> dict[str, t.Any]:
    """Options that determine the base, in addition to the prompts."""
    left_out = ("output", "prompts", "tools", "replace")
    return {"recipe": RECIPE, **{name: value for name, value in vars(arguments).items() if name not in left_out}}


def file_digest(path: str) -> str:
    """sha256 of a file's content, 64 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def directory_digests(path: str) -> dict[str, str]:
    """sha256 by file name of everything in a flat directory but the receipt."""
    return {name: file_digest(os.path.join(path, name)) for name in sorted(os.listdir(path)) if name != RECEIPT}


def files_digest(paths: t.Sequence[str]) -> str:
    """sha256 over the contents of files, 64 hex digits; of a single file that of its content."""
    digests = [file_digest(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def train_sentencepiece(texts: t.Sequence[str], pieces: int, tools: t.Sequence[str] = ()) -> bytes:
    """A SentencePiece BPE model, serialized.

    Bytes stand in for what the texts do not hold, and text goes in as it is: no normalisation, no space put in
    front. llama.cpp puts such a space after every control token, Hugging Face only at the start, so that with it
    the two would never agree on a chat.

    :param pieces: size of the vocabulary at most; fewer when the texts give no more.
    :param tools: texts that stand in front of many questions. They become few, long pieces, because a model of this
        size cannot see a question behind a prompt of many hundred tokens.
    """
    import sentencepiece

    long_pieces = {"split_by_whitespace": False, "split_by_unicode_script": False, "max_sentencepiece_length": 32}
    texts = [*texts, *[text for text in (*tools, *TOOL_PROMPT) for _time in range(_TOOL_WEIGHT)]] if tools else texts
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        # The trainer expects one sentence per line; newlines are encoded as bytes anyway.
        sentence_iterator=iter(
            [line for text in [*texts, "system", "user", "assistant"] for line in text.splitlines()]
        ),
        model_writer=model,
        model_type="bpe",
        vocab_size=pieces,
        hard_vocab_limit=False,
        byte_fallback=True,
        character_coverage=1.0,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        unk_id=0,
        unk_piece=UNKNOWN,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        control_symbols=list(CONTROL_TOKENS),
        num_threads=1,
        minloglevel=2,
        **(long_pieces if tools else {}),
    )
    return model.getvalue()


def ranked_merges(pieces: t.Mapping[str, int], scores: t.Mapping[str, float]) -> list[tuple[str, str]]:
    """The merges of a BPE vocabulary, first the ones applied first.

    SentencePiece keeps the pieces with a score; tokenizers wants pairs in order. Every way to put a piece together
    from two others counts, because SentencePiece merges any two neighbours that make a known piece.

    :param pieces: id by piece.
    :param scores: score by piece, of the pieces made by merging; higher goes first.
    """
    merges = []
    for piece in sorted(scores, key=lambda known: -scores[known]):
        pairs = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = [pair for pair in pairs if pair[0] in pieces and pair[1] in pieces]
        merges += sorted(known, key=lambda pair: (pieces[pair[0]], pieces[pair[1]]))
    return merges


def write_tokenizer(directory: str, model: bytes, context: int) -> dict[str, int]:
    """``tokenizer.model`` for llama.cpp, and ``tokenizer.json`` with the same pieces for transformers.

    :param model: a serialized SentencePiece model.
    :param context: longest sequence, in tokens.
    :returns: id by piece.
    """
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    with open(os.path.join(directory, "tokenizer.model"), "wb") as stream:
        stream.write(model)
    reader = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = {reader.id_to_piece(number): number for number in range(reader.vocab_size())}
    scores = {
        piece: reader.get_score(number)
        for piece, number in pieces.items()
        if len(piece) > 1 and not (reader.is_control(number) or reader.is_unknown(number) or reader.is_byte(number))
    }
    tokenizer = Tokenizer(
        models.BPE(
            vocab=pieces, merges=ranked_merges(pieces, scores), byte_fallback=True, fuse_unk=True, unk_token=UNKNOWN
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never", split=False)
    # Changes no id; tells llama.cpp's converter that no token is prepended (add_bos_token false).
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [AddedToken(token, special=True, normalized=False) for token in (UNKNOWN, *CONTROL_TOKENS)]
    tokenizer.add_special_tokens(special)
    tokenizer.save(os.path.join(directory, "tokenizer.json"))
    write_json(
        os.path.join(directory, "tokenizer_config.json"),
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "added_tokens_decoder": {
                str(pieces[token.content]): {
                    "content": token.content,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": True,
                }
                for token in special
            },
            "add_bos_token": False,
            "add_eos_token": False,
            "add_prefix_space": False,
            "bos_token": None,
            "eos_token": TURN_END,
            "pad_token": PAD,
            "unk_token": UNKNOWN,
            "additional_special_tokens": [TURN_START],
            "clean_up_tokenization_spaces": False,
            "model_max_length": context,
            "chat_template": CHAT_TEMPLATE,
        },
    )
    return pieces


def check_tokenizers(directory: str, texts: t.Iterable[str]) -> int:
    """Compare the two tokenizers of a base: transformers trains with one, llama.cpp serves with the other.

    :returns: how many texts were compared.
    :raises TinyBaseError: on the first text whose token ids differ.
    """
    import sentencepiece
    import transformers

    served = sentencepiece.SentencePieceProcessor(model_file=os.path.join(directory, "tokenizer.model"))
    trained = transformers.AutoTokenizer.from_pretrained(directory)
    count = 0
    for text in [*texts, *PROBES]:
        left, right = served.encode(text), trained.encode(text, add_special_tokens=False)
        if left != right:
            raise TinyBaseError(
                f"The two tokenizers disagree on {text!r}: SentencePiece {served.encode(text, out_type=str)}, "
                f"transformers {trained.convert_ids_to_tokens(right)}. A model trained with one and served with "
                f"the other would answer wrongly."
            )
        count += 1
    return count


def write_model(directory: str, options: t.Mapping[str, t.Any], pieces: t.Mapping[str, int]) -> int:
    """``config.json``, ``generation_config.json`` and ``model.safetensors``.

    The weights are float16: rounded to its ten bits of fraction, what is merged into them answers as it was trained;
    with bfloat16's seven, some answers of so small a model are lost.

    :param options: as :func:`options_of` gives them.
    :param pieces: id by piece; its size is the vocabulary's.
    :returns: number of parameters.
    """
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=len(pieces),
        hidden_size=options["hidden"],
        intermediate_size=options["ffn"],
        num_hidden_layers=options["layers"],
        num_attention_heads=options["heads"],
        num_key_value_heads=options["kv_heads"],
        max_position_embeddings=options["context"],
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        bos_token_id=pieces[PAD],
        eos_token_id=pieces[TURN_END],
        pad_token_id=pieces[PAD],
    )
    model = transformers.LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(options["seed"])
    with torch.no_grad():
        # By name, so that the weights do not follow the order in which a version of transformers builds its layers.
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim == 1:
                parameter.fill_(1.0)
            else:
                std = options["embedding_std" if "embed" in name else "linear_std"]
                parameter.normal_(0.0, std, generator=generator)
    model.generation_config.eos_token_id = pieces[TURN_END]
    model.generation_config.pad_token_id = pieces[PAD]
    transformers.utils.logging.disable_progress_bar()
    model.to(torch.float16).save_pretrained(directory)
    return sum(parameter.numel() for parameter in model.parameters())


def write_json(path: str, value: t.Any) -> None:
    """Format as readable JSON."""
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(value, stream, ensure_ascii=False, indent=2, sort_keys=True)
        stream.write("\n")


def sync(path: str) -> None:
    """Sync a file, or the entries of a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(directory: str) -> t.Iterator[None]:
    """Hold a lock below a directory; it is released when the process ends."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def standing(output: str, options: t.Mapping[str, t.Any], prompts_digest: str) -> str | None:
    """Return the message for an existing base, or None if there is none.

    :param options: as :func:`options_of` gives them.
    :param prompts_digest: sha256 of the files of prompts.
    :raises TinyBaseError: something else stands there, or a base made with other options, or a damaged one.
    """
    if not os.path.lexists(output):
        return None
    hint = "Choose another --output, or replace it with --replace."
    try:
        with open(os.path.join(output, RECEIPT), encoding="utf-8") as stream:
            receipt = json.load(stream)
        made_with, files = dict(receipt["options"]), dict(receipt["files"])
        prompts_then = str(receipt["prompts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TinyBaseError(f"{output} exists and was not created by this program ({error}). {hint}") from error
    other = sorted(name for name in {*made_with, *options} if made_with.get(name) != options.get(name))
    if other:
        raise TinyBaseError(f"{output} was created with other options ({', '.join(other)}). {hint}")
    found = directory_digests(output)
    damaged = sorted(name for name in files if found.get(name) != files[name])
    if damaged:
        raise TinyBaseError(f"{output} is damaged: {', '.join(damaged)} missing or changed. {hint}")
    remark = "" if prompts_then == prompts_digest else " (made from other prompts; a base does not follow the data)"
    return f"kept {output}: made with the same options{remark}, {total_digest(files)}"


def total_digest(files: t.Mapping[str, str]) -> str:
    """A digest over names and contents, for display."""
    return "sha256:" + hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def remove(path: str) -> None:
    """Remove a directory tree, a file or a link, if it exists."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def build(directory: str, texts: t.Sequence[str], options: t.Mapping[str, t.Any], tools: t.Sequence[str] = ()) -> str:
    """Write everything but the receipt into an empty directory.

    :param texts: what the vocabulary is learnt from; :param tools: the tools, as a chat template writes them.
    :returns: the base's measures, for people.
    :raises TinyBaseError: the tokenizers disagree.
    """
    pieces = write_tokenizer(directory, train_sentencepiece(texts, options["vocabulary"], tools), options["context"])
    compared = check_tokenizers(directory, [*texts, *tools, *(TOOL_PROMPT if tools else ())])
    parameters = write_model(directory, options, pieces)
    return f"{parameters} parameters, {len(pieces)} pieces, tokenizers agree on {compared} texts"


def make(
    output: str,
    prompts: t.Sequence[str],
    options: t.Mapping[str, t.Any],
    replace: bool = False,
    tools: t.Sequence[str] = (),
) -> str:
    """Create the base, unless it exists.

    :param output: absolute path of the directory to make.
    :param prompts: paths of JSON files of rows; :param tools: paths of JSON files of tools.
    :param options: as :func:`options_of` gives them.
    :param replace: replace an existing directory.
    :returns: one line about what was done; its first word is ``made`` or ``kept``.
    :raises TinyBaseError: it could not be made, or must not.
    """
    texts = [text for path in prompts for text in load_texts(path)]
    tool_texts = [as_json(tool) for path in tools for tool in load_list(path)]
    prompts_digest = files_digest([*prompts, *tools])
    parent, name = os.path.split(output)
    os.makedirs(parent, exist_ok=True)
    with locked(parent):
        if not replace:
            kept = standing(output, options, prompts_digest)
            if kept:
                return kept
        work, old = os.path.join(parent, f".work-{name}"), os.path.join(parent, f".old-{name}")
        remove(work)
        remove(old)
        os.mkdir(work)
        try:
            measures = build(work, list(dict.fromkeys(texts)), options, tool_texts)
            files = directory_digests(work)
            write_json(os.path.join(work, RECEIPT), {"files": files, "options": options, "prompts": prompts_digest})
            for file in os.listdir(work):
                # safetensors writes with mode 0600, but another user may train.
                os.chmod(os.path.join(work, file), 0o644)
                sync(os.path.join(work, file))
            sync(work)
            if os.path.lexists(output):
                os.rename(output, old)
            os.rename(work, output)
            sync(parent)
        finally:
            remove(work)
        remove(old)
    size = sum(os.path.getsize(os.path.join(output, file)) for file in os.listdir(output))
    return f"made {output}: {measures}, {size / 1e6:.1f} MB, {total_digest(files)}"


def main(argv: t.Sequence[str] | None = None) -> int:
    """Run the program; return the exit status."""
    arguments = parse_arguments(argv)
    # The libraries must not contact a hub or warn about a missing GPU.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    output = os.path.abspath(os.path.expanduser(arguments.output))
    try:
        prompts, tools = ([os.path.expanduser(path) for path in each] for each in (arguments.prompts, arguments.tools))
        print(make(output, prompts, options_of(arguments), arguments.replace, tools))
    except ImportError as error:
        print(f"{error}. Run this with the Python of LLaMA-Factory's virtual environment.", file=sys.stderr)
        return 1
    except (OSError, TinyBaseError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
