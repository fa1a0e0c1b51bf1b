# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the arguments of the installed LLaMA-Factory as JSON, without importing it (that takes up to half a minute).

Run by the interpreter of LLaMA-Factory's virtual environment. Reads the dataclasses that ``HfArgumentParser`` is
given (``_TRAIN_ARGS`` in ``llamafactory/hparams/parser.py``) and their bases from the source, and the names of the
chat templates from ``data/template.py``. Prints ``{"arguments": {name: type}, "templates": [...], "version": "…"}``.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import sys
import typing as t


def source_dir(package: str) -> str:
    """Where a package lies; it is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed here.")
    return next(iter(spec.submodule_search_locations))


def parse(*path: str) -> ast.Module:
    """The syntax tree of a source file."""
    with open(os.path.join(*path), encoding="utf-8") as stream:
        return ast.parse(stream.read())


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether a class is decorated as one."""
    return any("dataclass" in ast.dump(decorator) for decorator in node.decorator_list)


def is_argument(value: ast.expr | None) -> bool:
    """Whether a field is given to the constructor: not when it says ``init=False``."""
    keywords = value.keywords if isinstance(value, ast.Call) else []
    return not any(
        word.arg == "init" and isinstance(word.value, ast.Constant) and word.value.value is False for word in keywords
    )


def fields(name: str, classes: t.Mapping[str, ast.ClassDef]) -> dict[str, str]:
    """Arguments of a dataclass: those of its bases first, as Python has it."""
    node = classes.get(name)
    if node is None:
        return {}
    found: dict[str, str] = {}
    for base in reversed(node.bases):
        label = base.id if isinstance(base, ast.Name) else getattr(base, "attr", "")
        found.update(fields(label, classes))
    if is_dataclass(node):
        for each in node.body:
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                kind = ast.unparse(each.annotation)
                if kind.startswith(("ClassVar", "typing.ClassVar")):
                    continue
                if is_argument(each.value):
                    found[each.target.id] = kind.strip("\"'")
                else:
                    found.pop(each.target.id, None)
    return found


def main() -> None:
    """Print the list."""
    factory, transformers = source_dir("llamafactory"), source_dir("transformers")
    classes: dict[str, ast.ClassDef] = {}
    for tree in (parse(transformers, "training_args.py"), parse(transformers, "training_args_seq2seq.py")):
        classes.update({node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)})
    # LLaMA-Factory has a TrainingArguments of its own over that of transformers, under another name
    classes["_Transformers"] = classes.pop("TrainingArguments")
    classes["Seq2SeqTrainingArguments"].bases = [ast.Name("_Transformers")]
    hparams = os.path.join(factory, "hparams")
    wanted: list[str] = []
    for name in sorted(os.listdir(hparams)):
        if not name.endswith(".py"):
            continue
        tree = parse(hparams, name)
        classes.update({node.name: node for node in tree.body if isinstance(node, ast.ClassDef)})
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                if node.targets[0].id == "_TRAIN_ARGS" and isinstance(node.value, ast.List):
                    wanted = [item.id for item in node.value.elts if isinstance(item, ast.Name)]
                if node.targets[0].id == "BaseTrainingArguments" and isinstance(node.value, ast.Name):
                    # set twice, under a condition: the ordinary one is that of transformers
                    classes.setdefault("BaseTrainingArguments", classes["Seq2SeqTrainingArguments"])
    arguments: dict[str, str] = {}
    for name in wanted:
        arguments.update(fields(name, classes))
    templates: list[str] = []
    for node in ast.walk(parse(factory, "data", "template.py")):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "register_template":
            for word in node.keywords:
                if word.arg == "name" and isinstance(word.value, ast.Constant):
                    templates.append(str(word.value.value))
    result = {
        "arguments": arguments,
        "templates": sorted(templates),
        "version": importlib.metadata.version("llamafactory"),
    }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
