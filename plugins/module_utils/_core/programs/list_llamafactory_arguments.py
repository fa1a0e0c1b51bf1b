# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the arguments of the installed LLaMA-Factory as JSON, without importing it (which takes up to half a minute).

Run by the interpreter of LLaMA-Factory's virtual environment. Reads from the source the dataclasses passed to
``HfArgumentParser`` (``_TRAIN_ARGS`` in ``llamafactory/hparams/parser.py``) and their bases, the values of its
enumerations from ``extras/constants.py``, which its parser does not check, and the names of the chat templates from
``data/template.py``. Prints ``{"arguments": {name: type}, "templates": [...], "version": "…"}``.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import typing as t


def source_dir(package: str) -> str:
    """Directory of a package, without importing it.

    :raises SystemExit: when it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed here.")
    return next(iter(spec.submodule_search_locations))


def parse(*path: str) -> ast.Module:
    """The syntax tree of a source file."""
    with open(os.path.join(*path), encoding="utf-8") as stream:
        return ast.parse(stream.read())


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether a class is decorated as a dataclass."""
    return any("dataclass" in ast.dump(decorator) for decorator in node.decorator_list)


def is_argument(value: ast.expr | None) -> bool:
    """Whether a field is an argument of the constructor, that is, not declared with ``init=False``."""
    keywords = value.keywords if isinstance(value, ast.Call) else []
    return not any(
        keyword.arg == "init" and isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        for keyword in keywords
    )


def fields(name: str, classes: t.Mapping[str, ast.ClassDef]) -> dict[str, str]:
    """Arguments of a dataclass: name → type; those of its bases come first, as in Python."""
    node = classes.get(name)
    if node is None:
        return {}
    arguments: dict[str, str] = {}
    for base in reversed(node.bases):
        label = base.id if isinstance(base, ast.Name) else getattr(base, "attr", "")
        arguments.update(fields(label, classes))
    if is_dataclass(node):
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                annotation = ast.unparse(statement.annotation)
                if annotation.startswith(("ClassVar", "typing.ClassVar")):
                    continue
                if is_argument(statement.value):
                    arguments[statement.target.id] = annotation.strip("\"'")
                else:
                    arguments.pop(statement.target.id, None)
    return arguments


def enumerations(tree: ast.Module) -> dict[str, str]:
    """Enumerations of texts in a module: name → the type of their values."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Enum") for base in node.bases):
            constants = [item.value for item in node.body if isinstance(item, ast.Assign)]
            values = [
                each.value for each in constants if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
            if values:
                found[node.name] = f"Literal{values!r}"
    return found


def main() -> None:
    """Print the list."""
    factory, transformers = source_dir("llamafactory"), source_dir("transformers")
    classes: dict[str, ast.ClassDef] = {}
    for tree in (parse(transformers, "training_args.py"), parse(transformers, "training_args_seq2seq.py")):
        classes.update({node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)})
    # LLaMA-Factory's TrainingArguments derives from the class of the same name in transformers
    classes["_Transformers"] = classes.pop("TrainingArguments")
    classes["Seq2SeqTrainingArguments"].bases = [ast.Name("_Transformers")]
    hparams = os.path.join(factory, "hparams")
    class_names: list[str] = []
    for name in sorted(os.listdir(hparams)):
        if not name.endswith(".py"):
            continue
        tree = parse(hparams, name)
        classes.update({node.name: node for node in tree.body if isinstance(node, ast.ClassDef)})
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                if node.targets[0].id == "_TRAIN_ARGS" and isinstance(node.value, ast.List):
                    class_names = [item.id for item in node.value.elts if isinstance(item, ast.Name)]
                if node.targets[0].id == "BaseTrainingArguments" and isinstance(node.value, ast.Name):
                    # assigned twice, under a condition: the default is the class of transformers
                    classes.setdefault("BaseTrainingArguments", classes["Seq2SeqTrainingArguments"])
    arguments: dict[str, str] = {}
    for name in class_names:
        arguments.update(fields(name, classes))
    constants = os.path.join(factory, "extras", "constants.py")
    known = enumerations(parse(constants)) if os.path.exists(constants) else {}
    for name, annotation in arguments.items():
        arguments[name] = re.sub(r"\w+", lambda match: known.get(match.group(), match.group()), annotation)
    templates: list[str] = []
    for node in ast.walk(parse(factory, "data", "template.py")):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "register_template":
            for keyword in node.keywords:
                if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                    templates.append(str(keyword.value.value))
    result = {
        "arguments": arguments,
        "templates": sorted(templates),
        "version": importlib.metadata.version("llamafactory"),
    }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
