# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A conversation is the same in training and in Ollama: text and tokens, for every template of the catalogue.

The vocabulary is small and adversarial: it has merges for everything in the conversations, also across
messages, so that a template fails if the tokens of its messages are merged with each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.chat_templates import (
    TEMPLATES,
    template_for,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.gguf import (
    check_complete,
    read_header,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama

EOS, BOS = "</s>", "<s>"
SPECIAL = [
    *(
        EOS,
        BOS,
        "<eos>",
        "[INST]",
        "[/INST]",
        "[SYSTEM_PROMPT]",
        "[/SYSTEM_PROMPT]",
        "<|im_start|>",
        "<|im_end|>",
        "<|im_sep|>",
        "<|user|>",
        "<|assistant|>",
    ),
    *("<|system|>", "<|end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "<｜User｜>", "<｜Assistant｜>"),
]
SYSTEM = "Tu es l'assistant du homelab. Réponds en français."


def talk(system: str, *texts: str) -> dict[str, t.Any]:
    """A conversation; user and assistant in turn."""
    roles = ("user", "assistant")
    return {
        "system": system,
        "messages": [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)],
    }


TALKS = {
    "one turn": talk(SYSTEM, "Comment ajouter un film dans Overseerr ?", "Cherche-le, puis Demander."),
    "no system": talk("", "Où sont les sauvegardes ?", "Sur le NAS."),
    "turns": talk(SYSTEM, "Salut", "Bonjour !", "Et le NAS ?", "Il va bien.", "Merci", "De rien."),
    "turns, no system": talk("", "Salut", "Bonjour !", "Et le NAS ?", "Il va bien.", "Merci", "De rien."),
    "accents": talk(
        "« Œuvre » — à l\u2019été : ça coûte 3 €, n° 5.",
        "Où çà ? Dès Noël, l\u2019œuf\u00a0; 日本 🚀",
        "Là.",
        "Ÿ ?",
        "Oui.",
    ),
    "looks like a template": talk(
        "{{ .System }} {{content}} {% if x %}",
        'Que font {{ .Content }}, {{content}}, {{- end }} et """ ou <|im_end|>, [INST], <end_of_turn>, <think> ?',
        "Ce sont des marques : {{ .Content }} {{content}} <|im_end|>.",
        "Et `{{ range .Messages }}` ?",
        "Aussi.",
    ),
    "line breaks": talk(
        "Première ligne.\n\n- deux\n\ttrois\n",
        "  deux blancs devant\r\nCRLF\n\n\n",
        "Fin.\n\nAvec une suite\n",
        "\n\tau bout  ",
        "ok",
    ),
    "long": talk(SYSTEM, *["Une question ? " * 20, "Une réponse. " * 20] * 4),
}

#: All conversations above, and the boundaries: ends of messages and markers, followed by each beginning.
TEXTS = [text for one in TALKS.values() for text in (one["system"], *(turn["content"] for turn in one["messages"]))]
BEGINNINGS = {text[:20] for text in TEXTS} | {"### Instruction", "USER: ", "Human: "}
ENDINGS = (".", "?", "!", "]", ">", ":", "\n", "\n\n", " ", "a")
CORPUS = [*TEXTS, *(ending + text for ending in ENDINGS for text in sorted(BEGINNINGS))] * 2

THINKING = sorted(name for name, template in TEMPLATES.items() if template.thinking)
CASES = [(name, True) for name in sorted(TEMPLATES)] + [(name, False) for name in THINKING]
IDS = [f"{name}{'' if thinking else ' without thinking'}" for name, thinking in CASES]
LEFT_OUT = ["alpaca", "default", "vicuna"]


class Trained(t.NamedTuple):
    """LLaMA-Factory's output, and the models with its vocabulary."""

    answer: dict[str, t.Any]
    ollama: Ollama
    digests: dict[bool, str]


def training_texts(folder: Path) -> dict[str, t.Any]:
    """The conversations as LLaMA-Factory renders them with each template."""
    request = {
        "special": SPECIAL,
        "corpus": CORPUS,
        "templates": [*CASES, *((name, True) for name in LEFT_OUT)],
        "conversations": list(TALKS.values()),
    }
    subprocess.run(
        [
            os.path.join(os.environ["IA_LF_VENV"], "bin", "python"),
            str(Path(__file__).with_name("training_texts.py")),
            str(folder / "answer.json"),
        ],
        input=json.dumps(request).encode(),
        env={**os.environ, "DISABLE_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
        timeout=300,
    )
    found: dict[str, t.Any] = json.loads((folder / "answer.json").read_bytes())
    return found


def tokens_of(ollama: Ollama, model: str, text: str) -> list[int]:
    """The tokens of a text in Ollama (without BOS): the model ends at once, and Ollama reports its input."""
    body = {"model": model, "prompt": text, "template": "{{ .Prompt }}", "stream": False, "options": {"temperature": 0}}
    reply = ollama._json("POST", "/api/generate", body, "tokenize", 120)
    assert reply["response"] == ""
    return list(reply["context"])


def as_asked(one: dict[str, t.Any], last: int = -1) -> list[dict[str, str]]:
    """The conversation as a client sends it: without its last answer."""
    system = [{"role": "system", "content": one["system"]}] if one["system"] else []
    return [*system, *one["messages"][:last]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, ollama_server: t.Any, make: t.Any) -> Trained:
    """Training's texts for all templates, and two GGUF files in Ollama: one has BOS added by the server, one not."""
    folder = tmp_path_factory.mktemp("templates")
    answer = training_texts(folder)
    ollama = Ollama(ollama_server.url, slow_timeout=120)
    digests = {}
    for add_bos in (True, False):
        path = folder / f"{add_bos}.gguf"
        make.model(path, answer["tokens"], answer["merges"], len(SPECIAL), add_bos)
        info = read_header(str(path))
        check_complete(info)
        assert (info.adds_bos, info.token("eos"), info.token("bos")) == (add_bos, EOS, BOS)
        digests[add_bos] = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
        ollama.push_blob(str(path), digests[add_bos])
    return Trained(answer, ollama, digests)


@pytest.mark.parametrize(("name", "thinking"), CASES, ids=IDS)
def test_prompts_are_rendered_as_in_training(trained: Trained, name: str, thinking: bool) -> None:
    """Every conversation, text and tokens, whether the server or the template adds BOS."""
    ollama = trained.ollama
    template = template_for(name, thinking)
    said = trained.answer["templates"][f"{name}/{thinking}"]
    assert template.default_system == said["default_system"]
    for by_server in (True, False) if template.bos else (False,):
        model = f"real-{name}-{thinking}-{by_server}".lower()
        text = template.go_template(EOS, "" if by_server else BOS if template.bos else "")
        stops = template.stop_strings(EOS)
        ollama.create(
            model, files={"model.gguf": trained.digests[by_server]}, template=text, parameters={"stop": stops}
        )
        for title, one, wanted in zip(TALKS, TALKS.values(), said["prompts"]):
            rendered = ollama.render(model, as_asked(one))
            assert (BOS if by_server else "") + rendered == wanted["text"], title
            ids = tokens_of(ollama, model, rendered)
            assert ([1] if by_server else []) + ids == wanted["ids"], title
            asked = ollama.chat(model, as_asked(one), {"temperature": 0, "num_predict": 1})
            assert asked["prompt_eval_count"] == len(wanted["ids"]), title


@pytest.mark.parametrize(("name", "thinking"), CASES, ids=IDS)
def test_stop_words_match_training(trained: Trained, name: str, thinking: bool) -> None:
    """Stop words are those of training; the tokenizer's EOS, at which every server stops, may be omitted."""
    said = set(trained.answer["templates"][f"{name}/{thinking}"]["stops"])
    ours = set(template_for(name, thinking).stop_strings(EOS))
    assert said - {EOS} <= ours <= said
    if not template_for(name).thinking:
        # an answer in training ends with one of them, the line break after it apart
        answers = [prompt["answer"].rstrip("\n") for prompt in trained.answer["templates"][f"{name}/True"]["prompts"]]
        assert all(answer.endswith(tuple(ours)) for answer in answers)


@pytest.mark.parametrize("name", THINKING)
def test_thinking_blocks(trained: Trained, name: str) -> None:
    """Rows without a thinking block are trained with an empty one; Ollama removes it, or adds it to the prompt."""
    ollama = trained.ollama
    template = template_for(name)
    model = f"real-{name}-thinking"
    text = template.go_template(EOS)
    ollama.create(model, files={"model.gguf": trained.digests[template.bos]}, template=text)
    assert "thinking" in ollama.show(model)["capabilities"]
    said = trained.answer["templates"][f"{name}/True"]["prompts"][0]
    empty = "<think>\n\n</think>\n\n"
    assert said["answer"].startswith(empty)
    talk_ = TALKS["one turn"]
    asked = ollama.render(model, as_asked(talk_))
    assert ollama.render(model, as_asked(talk_), think=False) == asked + empty
    thought = {"role": "assistant", "content": "Sur le NAS.", "thinking": "Il demande où."}
    rendered = ollama.render(model, [{"role": "user", "content": "Où ?"}, thought, {"role": "user", "content": "Et ?"}])
    assert "<think>\nIl demande où.\n</think>\n\nSur le NAS." in rendered


@pytest.mark.parametrize("name", LEFT_OUT)
def test_excluded_templates_fail(trained: Trained, name: str) -> None:
    """Templates that the catalogue excludes do fail: the tokens of training differ from those of the complete text."""
    assert name not in TEMPLATES
    prompts = trained.answer["templates"][f"{name}/True"]["prompts"]
    assert any(prompt["ids"] != prompt["together"] for prompt in prompts)


def test_empty_system_prompt_uses_the_default(trained: Trained) -> None:
    """An empty system prompt of a client is replaced by that of training."""
    template = template_for("qwen")
    trained.ollama.create(
        "real-qwen-empty", files={"model.gguf": trained.digests[False]}, template=template.go_template()
    )
    rendered = trained.ollama.render(
        "real-qwen-empty", [{"role": "system", "content": ""}, *as_asked(TALKS["no system"])]
    )
    assert rendered.startswith(f"<|im_start|>system\n{template.default_system}<|im_end|>\n")
