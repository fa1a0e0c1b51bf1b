# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of ``./ia``. Each calls a playbook with ``ansible-playbook``; nothing else is done here."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ("pc_ia", "quickstart")  #: Inventories of the repository that are no user's.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


@dataclasses.dataclass
class Front:
    """What all commands share: the options before the command. An empty inventory is found."""

    inventory: str
    verbose: bool
    ask_password: bool

    def find_inventory(self) -> str:
        """Return the inventory: the given one, or the only one that is no example."""
        if self.inventory:
            path = Path(self.inventory).resolve()
            if not path.exists():
                raise click.UsageError(f"There is no inventory at {path}. ./ia init writes one.")
            return str(path)
        # a name with a dot is that of an init that was interrupted
        own = sorted(path for path in ROOT.glob("inventory/[!.]*") if path.name not in EXAMPLES)
        if len(own) == 1:
            return str(own[0])
        if not own:
            raise click.UsageError("There is no inventory yet: run ./ia init, or name one with --inventory.")
        names = ", ".join(path.name for path in own)
        raise click.UsageError(f"There are several inventories ({names}): name one, with --inventory inventory/NAME.")

    def run(self, program: str, *arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a program of Ansible's environment in the root of the repository."""
        command = [str(Path(sys.executable).parent / program), *arguments]
        if self.verbose:
            click.echo(f"$ cd {shlex.quote(str(ROOT))} && {shlex.join([program, *arguments])}", err=True)
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        # The terminal sends Ctrl-C to Ansible as well, which says what goes on; subprocess would kill it before that.
        previous = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            return subprocess.run(command, cwd=ROOT, env=environment, check=False, text=True, capture_output=capture)
        finally:
            signal.signal(signal.SIGINT, previous)

    def play(self, playbook: str, *more: str, capture: bool = False, **values: t.Any) -> None:
        """Run a playbook with extra variables; end with its exit status if it fails."""
        arguments = ["-i", self.find_inventory(), f"playbooks/{playbook}.yml", *more]
        arguments += ["--ask-become-pass"] if self.ask_password else []
        if values:
            arguments += ["-e", json.dumps(values, ensure_ascii=False)]
        done = self.run("ansible-playbook", *arguments, capture=capture)
        if done.returncode:
            if capture:
                click.echo(f"{done.stdout}{done.stderr}", err=True)
            if done.returncode == 99 and playbook == "finetune":  # Ctrl-C
                click.echo("Or: ./ia status, ./ia apply (follows it again), ./ia cancel NAME (stops it).", err=True)
            raise click.exceptions.Exit(done.returncode)

    def declared(self) -> dict[str, tuple[str, dict[str, t.Any]]]:
        """Return each declared fine-tune by name: a host that declares it, and its entry."""
        done = self.run("ansible-inventory", "-i", self.find_inventory(), "--list", capture=True)
        if done.returncode:
            raise click.ClickException(f"The inventory cannot be read.\n{done.stderr.strip()}")
        found: dict[str, tuple[str, dict[str, t.Any]]] = {}
        for host, variables in json.loads(done.stdout)["_meta"]["hostvars"].items():
            entries = variables.get("finetunes") or []
            if isinstance(entries, dict):
                entries = [{"name": name, **(entry or {})} for name, entry in entries.items()]
            for entry in entries if isinstance(entries, list) else ():
                if isinstance(entry, dict) and entry.get("name"):
                    found.setdefault(str(entry["name"]), (host, entry))
        return found

    def find_declared(self, name: str) -> tuple[str, dict[str, t.Any]]:
        """Return the host and the entry of a fine-tune."""
        if name not in (declared := self.declared()):
            known = ", ".join(declared) or "none that can be read"
            raise click.BadParameter(f"The inventory declares no fine-tune {name!r}. Declared: {known}.")
        return declared[name]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-i", "--inventory", default="", metavar="DIR", help="The inventory; by default your only one.")
@click.option("-K", "--ask-become-pass", "ask_password", is_flag=True, help="Ask for the password of sudo on the host.")
@click.option("-v", "--verbose", is_flag=True, help="Show each command of Ansible before it runs.")
@click.pass_context
def main(context: click.Context, inventory: str, ask_password: bool, verbose: bool) -> None:
    """Fine-tune models and serve them in Ollama, as the inventory declares them.

    \b
    First:    ./ia init            asks what is needed, and writes the inventory
              ./ia install         installs the tools on the PC (once; about 8 GB)
    Then:     ./ia plan            shows what an apply would do, and what it needs
              ./ia apply           makes the models, and follows their progress
              ./ia chat NAME       asks a model
    """
    context.obj = Front(inventory, verbose, ask_password)


@main.command()
@click.pass_obj
def install(front: Front) -> None:
    """Install LLaMA-Factory, its tools and Ollama on the PC."""
    front.play("site")


def _selection(front: Front, name: str, plan_file: str | None) -> tuple[list[str], dict[str, t.Any]]:
    """Return the options and variables for a fine-tune, if one is named, and for a file of plans."""
    values: dict[str, t.Any] = {"finetune_plan_file": str(Path(plan_file).resolve())} if plan_file else {}
    if not name:
        return [], values
    host, entry = front.find_declared(name)
    return ["--limit", host], {**values, "finetunes": [entry]}


@main.command()
@click.argument("name", default="")
@click.option("--save", type=click.Path(dir_okay=False), help="Save the plan, for apply --plan.")
@click.pass_obj
def plan(front: Front, name: str, save: str | None) -> None:
    """Show what an apply would do, why, and what it needs."""
    options, values = _selection(front, name, save)
    front.play("plan", *options, **values)


@main.command()
@click.argument("name", default="")
@click.option("--plan", "saved", type=click.Path(dir_okay=False), help="Apply exactly this saved plan.")
@click.pass_obj
def apply(front: Front, name: str, saved: str | None) -> None:
    """Make what is declared, all of it or one fine-tune. Ctrl-C stops the display, not the work."""
    options, values = _selection(front, name, saved)
    front.play("finetune", *options, **values)


@main.command()
@click.argument("name", default="")
@click.option("--limit", type=click.IntRange(min=1), help="Show at most so many runs.")
@click.pass_obj
def status(front: Front, name: str, limit: int | None) -> None:
    """Show the runs, and the models with their versions."""
    front.play("status", **({"finetune_name": name} if name else {}), **({"finetune_limit": limit} if limit else {}))


@main.command()
@click.argument("name")
@click.option("--version", help="The version to serve; by default the previous one.")
@click.option("--release", is_flag=True, help="End a rollback: the next apply serves the declared version again.")
@click.pass_obj
def rollback(front: Front, name: str, version: str | None, release: bool) -> None:
    """Serve an earlier version of a model, within seconds."""
    if version and release:
        raise click.UsageError("--version and --release exclude each other.")
    more: dict[str, t.Any] = {"finetune_version": version} if version else {"finetune_release": True} if release else {}
    front.play("rollback", finetune_name=name, **more)


@main.command()
@click.argument("name")
@click.option("--dismiss", is_flag=True, help="Remove its failed runs from the tables instead.")
@click.pass_obj
def cancel(front: Front, name: str, dismiss: bool) -> None:
    """Stop the active runs of a fine-tune; what is finished is kept."""
    front.play("cancel", finetune_name=name, **({"finetune_dismiss": True} if dismiss else {}))


@main.command()
@click.argument("name")
@click.argument("question", nargs=-1)
@click.pass_obj
def chat(front: Front, name: str, question: tuple[str, ...]) -> None:
    """Ask a model: one QUESTION, or a conversation that ends with an empty line."""
    with tempfile.TemporaryDirectory(prefix="ia-chat-") as directory:
        path = Path(directory, "conversation.json")
        messages: list[dict[str, t.Any]] = []
        while True:
            text = " ".join(question) or click.prompt(">", default="", show_default=False, prompt_suffix=" ")
            if not text.strip():
                return
            # in a file: Ansible would evaluate braces in a variable
            path.write_text(json.dumps([*messages, {"role": "user", "content": text}]), encoding="utf-8")
            front.ask_password = False  # the play needs no rights, and would ask before each question
            front.play("chat", capture=True, finetune_name=name, finetune_conversation=str(path))
            messages = json.loads(path.read_text(encoding="utf-8"))
            click.echo(messages[-1]["content"])
            if question:
                return


@main.command()
@click.pass_obj
def page(front: Front) -> None:
    """Print a link to the page of the training service, for one sign-in within five minutes."""
    front.play("page")


@main.command()
@click.argument("directory", default="mine")
@click.option("--host", prompt="Address of the PC with the GPU (name or IP; localhost for this machine)")
@click.option("--user", default="", help="Its user; asked for unless the host is localhost.")
@click.option("--base", prompt="Base model", default="qwen2.5:7b")
@click.option("--prompts", prompt="File with your prompts", type=click.Path(exists=True, dir_okay=False))
@click.option("--name", prompt="Name of your model", default="homelab-model")
@click.pass_obj
def init(front: Front, directory: str, host: str, user: str, base: str, prompts: str, name: str) -> None:
    """Ask what is needed, check the connection, and write an inventory to inventory/DIRECTORY."""
    for what, value in (("DIRECTORY", directory), ("--name", name)):
        if not _NAME.match(value) or value in EXAMPLES:
            raise click.BadParameter(f"{what} {value!r}: use letters, digits, dots and hyphens, and no example's name.")
    target = ROOT / "inventory" / directory
    if target.exists():
        raise click.UsageError(f"{target} exists already: change it by hand, or name another DIRECTORY.")
    local = host in ("localhost", "127.0.0.1")
    user = user or ("" if local else click.prompt("Your user there (with an SSH key, and allowed to use sudo)"))
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as parent:
        temporary = Path(parent, directory)
        _write_inventory(temporary, host, user, base, Path(prompts), name)
        ia = "./ia -K" if _check(Front(str(temporary), front.verbose, front.ask_password)) else "./ia"
        temporary.rename(target)
    click.echo(f"Written: {target}. Next: {ia} install, then {ia} plan and {ia} apply.")


def _write_inventory(target: Path, host: str, user: str, base: str, prompts: Path, name: str) -> None:
    """Write hosts.yml, group_vars and a copy of the prompts. JSON strings are valid YAML."""
    local, quoted = host in ("localhost", "127.0.0.1"), json.dumps
    how = "ansible_connection: local" if local else f"ansible_host: {quoted(host)}\n      ansible_user: {quoted(user)}"
    become = "false" if (os.geteuid() == 0 if local else user == "root") else "true"
    variables = target / "group_vars" / "pc_ia"
    variables.mkdir(parents=True)
    target.joinpath("prompts").mkdir()
    shutil.copyfile(prompts, target / "prompts" / prompts.name)
    hosts = f"---\npc_ia:\n  hosts:\n    pc-ia:\n      {how}\n      ansible_become: {become}\n"
    (target / "hosts.yml").write_text(hosts, encoding="utf-8")
    dataset = re.sub(r"[^A-Za-z0-9._-]", "_", prompts.stem)
    variables.joinpath("main.yml").write_text(
        f"""---
llamafactory_data_dir: /data/llamafactory

# REST, MCP and a page on port 8000 of the PC: ./ia page
training_service: true

finetune_datasets:
  - name: {quoted(dataset)}
    src: {quoted("{{ inventory_dir }}/prompts/" + prompts.name)}

# The options of a fine-tune: roles/finetune/README.md
finetunes:
  - name: {quoted(name)}
    base_model: {quoted(base)}
    dataset: {quoted(dataset)}
    method: auto                        # what fits the GPU, with the reason
    epochs: 3
    quantization: q4_K_M
""",
        encoding="utf-8",
    )


def _check(front: Front) -> bool:
    """Show what fits the host, which has to answer and to grant the rights; return whether sudo asks for a password."""
    more = ["--ask-become-pass"] if front.ask_password else []
    done = front.run("ansible-playbook", "-i", front.inventory, "playbooks/plan.yml", *more, capture=True)
    output = f"{done.stdout}{done.stderr}".strip()
    # a refused plan is a result of its task; "Task failed" is what Ansible says if it cannot run the task there
    if done.returncode and ("finetune : Plan]" not in output or re.search("UNREACHABLE!|Task failed", output)):
        if not re.search(r"(?i)sudo.*password|password is required", output):
            what = "is not reached by key (ssh-copy-id)" if "UNREACHABLE!" in output else "answers but cannot be used"
            raise click.ClickException(f"The PC {what}.\n{output}")
        problem = "sudo did not accept the password" if front.ask_password else "sudo asks for a password there"
        if not sys.stdin.isatty():
            raise click.ClickException(f"The PC answers, and {problem}: run ./ia -K init.")
        click.echo(f"The PC answers, and {problem}. Ctrl-C ends this.")
        return _check(dataclasses.replace(front, ask_password=True))
    change = "\nThe plan shows what to change in the inventory." if done.returncode else ""
    click.echo(f"The PC answers. What your model needs there:\n{output}{change}")
    return front.ask_password


if __name__ == "__main__":
    main(prog_name="./ia")
