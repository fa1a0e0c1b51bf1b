# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks LLaMA-Factory's own parser about the arguments of a training, and a base model for the names of its modules.

Run by the Python of LLaMA-Factory's environment, without a GPU and without network access. Argument: ``{"arguments":
{…}, "base": DIRECTORY, "targets": [NAME, …], "saved": [NAME, …]}`` as JSON; without ``arguments`` the parser is not
asked, without names no module is looked for. No weights are read. The last line of the standard output is ``ANSWER``
and ``{"refused": TEXT, "missing": [NAME, …], "modules": [NAME, …]}``: why the parser refuses the arguments, the names
that no module has, and the last parts of the names of the linear modules.
"""

from __future__ import annotations

import json
import sys
import typing as t

MARK = "ANSWER "


def refusal(arguments: dict[str, t.Any]) -> str:
    """Why LLaMA-Factory refuses arguments; empty if it does not."""
    from llamafactory.hparams import get_train_args

    try:
        get_train_args(dict(arguments))
    except Exception as error:  # whatever the parser or a check of transformers raises is its answer
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def module_classes(base: str) -> dict[str, str]:
    """The modules of a base model: name → class. The model has no weights.

    The class of the model is chosen as LLaMA-Factory's ``load_model`` does.
    """
    import torch
    import transformers

    config: t.Any = transformers.AutoConfig.from_pretrained(base)
    with_images: t.Any = getattr(transformers, "AutoModelForImageTextToText", None)
    mapping = with_images._model_mapping.keys() if with_images is not None else ()
    kind: t.Any = with_images if type(config) in mapping else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(config)
    return {name: type(module).__name__ for name, module in model.named_modules()}


def look_up(classes: t.Mapping[str, str], targets: t.Sequence[str], saved: t.Sequence[str]) -> dict[str, t.Any]:
    """Compare names with modules as PEFT does: a name stands for all modules whose name ends with it.

    :param targets: modules that get an adapter, which only linear ones, embeddings and convolutions can.
    :param saved: modules that are trained as a whole.
    """

    def kinds(name: str) -> list[str]:
        return [kind for module, kind in classes.items() if module == name or module.endswith(f".{name}")]

    adapted = ("Linear", "Embedding", "Conv")
    missing = [name for name in targets if not any(part in kind for kind in kinds(name) for part in adapted)]
    missing += [name for name in saved if not kinds(name)]
    linear = {module.rpartition(".")[2] for module, kind in classes.items() if "Linear" in kind}
    return {"missing": missing, "modules": sorted(linear - {"lm_head"})}


def main(request: dict[str, t.Any]) -> None:
    """Print the answer."""
    answer: dict[str, t.Any] = {"refused": "", "missing": [], "modules": []}
    if request.get("arguments"):
        answer["refused"] = refusal(request["arguments"])
    if request.get("targets") or request.get("saved"):
        answer.update(look_up(module_classes(request["base"]), request["targets"], request["saved"]))
    sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
