# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page in a real Chromium: a training from its configuration to the answer of its model, and back again.

LLaMA-Factory, llama.cpp and Ollama are the real ones; the base is the quickstart's tiny one. Screenshots of each view
are left among the artifacts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import typing as t
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.tests.support.evaluation_fixture import evaluated_versions
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base
from ansible_collections.ia_homelab.llamafactory.tests.support.recorded import recorded
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import PROMPTS, Service
from ia_homelab_service.web.i18n.language import Language

ARTIFACTS = Path(os.environ.get("IA_HOMELAB_ARTIFACTS") or "/tmp") / "screenshots"
#: Milliseconds: a busy machine is no defect of the page.
PATIENCE, TRAINING = 180_000, 900_000
#: Chromium as root, with nothing asked of the network.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
#: What the element with the focus is called, about.
FOCUSED = """() => {
    const at = document.activeElement;
    const text = at.getAttribute('aria-label') || at.innerText || at.closest('label')?.innerText || '';
    return text.trim().split('\\n')[0];
}"""
#: Words that are broken in the navigation, and tables that a narrow screen cuts off at the side.
CUT_OFF = """() => {
    const links = [...document.querySelectorAll('.bar nav a')].filter(one => one.getClientRects()[0]?.height > 44);
    const tables = [...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth + 1);
    return [...links, ...(innerWidth < 640 ? tables : [])].map(one => one.innerText.slice(0, 80));
}"""
#: Whether the line with the cause is in the part of the log that is shown: lines before it take several on a phone.
CAUSE_IS_SHOWN = """() => {
    const [log, cause] = ['.log', '.log mark'].map(one => document.querySelector(one).getBoundingClientRect());
    return log.top <= cause.top && cause.bottom <= log.bottom;
}"""
PHONE = {"width": 380, "height": 844}
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> t.Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def ollama(tmp_path: Path) -> t.Iterator[Server]:
    server = Server(os.environ["IA_OLLAMA_BIN"], tmp_path, free_port())
    server.start()
    yield server
    server.stop()


class Visitor:
    """A browser with a language.

    :param service: whose page it is.
    """

    def __init__(self, browser: Browser, service: Service, code: str, size: dict[str, int], **options: t.Any) -> None:
        locale = {"en": "en-US", "fr": "fr-FR"}[code]
        self.words, self.code, self.url = Language(code), code, service.url
        self.context: BrowserContext = browser.new_context(locale=locale, viewport=t.cast(t.Any, size), **options)
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.elsewhere.append(url)

    def open(self, path: str) -> None:
        """Open a view, and wait until it is connected."""
        self.page.goto(self.url + path)
        expect(self.page.get_by_role("heading", level=1)).to_be_visible(timeout=PATIENCE)

    def state(self, name: str) -> str:
        """The word for the state of a run."""
        return Message(f"runs.state_{name}").render(self.code).message

    def field(self, name: str) -> t.Any:
        """Return a field of the form."""
        return self.page.get_by_label(re.compile("^" + re.escape(self.words(f"field.{name}")) + r"( \*)?$"))

    def press(self, key: str, **options: t.Any) -> None:
        """Return a button, or a link that looks like one."""
        name = self.words(key)
        button = self.page.get_by_role("button", name=name, exact=True, **options)
        button.or_(self.page.get_by_role("link", name=name, exact=True, **options)).click()

    def shoot(self, name: str) -> None:
        """Save a screenshot; check accessibility, and that nothing overflows."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        width = t.cast(t.Any, self.page.viewport_size)["width"]
        self.page.evaluate("window.scrollTo(0, 0)")
        self.page.screenshot(path=str(ARTIFACTS / f"{name}-{self.code}-{width}.png"), full_page=True)
        found = Axe().run(self.page).response["violations"]
        assert found == [], json.dumps(
            [(one["id"], [node["html"] for node in one["nodes"]]) for one in found], indent=1
        )
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert self.page.evaluate(CUT_OFF) == [], name
        assert (self.elsewhere, self.errors) == ([], [])


@pytest.fixture
def visit(browser: Browser) -> t.Iterator[t.Callable[..., Visitor]]:
    made: list[Visitor] = []

    def visit(*arguments: t.Any, **options: t.Any) -> Visitor:
        made.append(Visitor(browser, *arguments, **options))
        return made[-1]

    yield visit
    for one in made:
        one.context.close()


def configure(visitor: Visitor, base: str, **fields: str) -> None:
    """Fill in the form by its labels, and open the plan."""
    visitor.open("/")
    model = visitor.field("base_model")
    model.fill(base)
    model.press("Enter")
    visitor.field("dataset").click()
    visitor.page.get_by_role("option", name=re.compile("homelab_prompts")).click()
    expect(visitor.page.get_by_text(visitor.words("dataset.valid"))).to_be_visible(timeout=PATIENCE)
    visitor.page.get_by_text(visitor.words("configure.more")).click()
    for name, value in fields.items():
        visitor.field(name).fill(value)
    visitor.shoot("configure")
    visitor.press("configure.plan")
    visitor.page.wait_for_url("**/plan?**", timeout=PATIENCE)
    expect(visitor.page.get_by_role("button", name=visitor.words("plan.start"))).to_be_enabled(timeout=PATIENCE)


def train(visitor: Visitor) -> str:
    """Start the planned run and watch it to its end; return its id."""
    words, page = visitor.words, visitor.page
    visitor.shoot("plan")
    expect(page.get_by_text(words("plan.time"), exact=True)).to_be_visible()
    assert "finetunes:" in page.locator("pre").first.inner_text()
    assert "curl -X POST" in page.locator("pre").last.inner_text()
    visitor.press("plan.start")
    page.wait_for_url("**/watch/**", timeout=PATIENCE)
    expect(page.locator(".chip").first).to_have_text(visitor.state("succeeded"), timeout=TRAINING)
    expect(page.get_by_text(words("watch.done"), exact=True)).to_be_visible(timeout=PATIENCE)
    run_id = page.url.rpartition("/")[2]
    expect(page.get_by_role("heading", level=1)).to_have_text(run_id)
    expect(page.locator("p").filter(has_text=run_id)).to_have_count(0)
    expect(page.get_by_role("log")).not_to_be_empty()
    visitor.shoot("watch")
    return page.url.rpartition("/")[2]


def version_of(tag: str) -> str:
    """The version in a tag of Ollama, as it is shown where the name of the model stands already."""
    return tag.partition(":")[2]


def names_in(page: Page, selector: str) -> list[int]:
    """How often the name of the model stands in each of some elements. The name of its dataset begins alike."""
    return [len(re.findall(r"\bhomelab\b", text)) for text in page.locator(selector).all_inner_texts()]


@pytest.mark.timeout(3600)
def test_from_a_form_to_an_answer_and_back(
    start: t.Callable[..., Service], visit: t.Callable[..., Visitor], ollama: Server, tmp_path: Path
) -> None:
    service = start(
        ollama_url=ollama.url,
        llamafactory_venv=os.environ["IA_LF_VENV"],
        converter_venv=os.environ["IA_CONV_VENV"],
        llama_cpp_dir=os.environ["IA_LLAMA_CPP_DIR"],
    )
    base = make_tiny_base(tmp_path / "tiny-base")
    service.publish()
    common = {"name": "homelab", "template": "qwen", "batch_size": "5", "gradient_accumulation": "1"}
    # the options with which the quickstart's model memorizes the data; French has decimal commas
    well = {"epochs": "16", "lora_rank": "32", "learning_rate": "0,005", "warmup_ratio": "0"}
    well["parameters"] = '{"temperature": 0}'

    # in English on a desktop: hardly trained
    english = visit(service, "en", DESK)
    configure(english, str(base), epochs="1", learning_rate="3e-3", **common)
    train(english)
    english.press("watch.see_model")
    english.page.wait_for_url("**/models/homelab", timeout=PATIENCE)
    first = english.page.locator("section.panel h2").filter(has_text="homelab:").first.inner_text()

    # in French on a phone: trained well
    french = visit(service, "fr", PHONE)
    configure(french, str(base), **well, **common)
    expect(french.page.get_by_role("cell").filter(has_text="learning_rate")).to_contain_text("0.003 → 0.005")
    train(french)
    french.press("watch.see_model")
    page, words = french.page, french.words
    page.wait_for_url("**/models/homelab", timeout=PATIENCE)
    expect(page.get_by_role("heading", name="homelab", exact=True)).to_be_visible(timeout=PATIENCE)
    second = page.locator("section.panel h2").filter(has_text="homelab:").first.inner_text()
    assert first != second
    served = page.get_by_role("region", name=words("models.now"), exact=True).locator("code")
    expect(served).to_have_text(version_of(second), timeout=PATIENCE)

    row = json.loads(PROMPTS.read_text(encoding="utf-8"))[0]
    page.get_by_label(words("chat.message")).fill(row["instruction"])
    french.press("chat.send")
    expect(page.get_by_role("log").locator("> div").last).to_contain_text(row["output"], timeout=TRAINING)
    french.shoot("model")

    french.press("models.rollback")
    expect(page.get_by_role("status")).to_contain_text(version_of(first), timeout=PATIENCE)
    assert names_in(page, "[role=status]")[0] == 1
    expect(served).to_have_text(version_of(first), timeout=PATIENCE)
    expect(page.get_by_text(words("models.held"))).to_be_visible()
    french.shoot("rolled-back")
    page.get_by_role("button", name=words("models.promote_what", tag=second)).click()
    expect(served).to_have_text(version_of(second), timeout=PATIENCE)
    expect(page.get_by_text(words("models.held"))).to_have_count(0)
    assert names_in(page, "section.panel:has(h2:text-matches('^homelab:'))") == [1, 1], "a version and its run"
    assert names_in(page, "section.panel:has(code):has(button)")[0] == 1, "what answers now"

    english.open("/models")
    expect(english.page.get_by_role("link", name="homelab", exact=True)).to_be_visible()
    assert names_in(english.page, "tbody tr") == [1]
    english.shoot("models")
    english.open("/watch")
    expect(english.page.get_by_role("row")).to_have_count(3)
    assert names_in(english.page, "tbody tr") == [1, 1]
    english.shoot("queue")


def test_versions_are_compared_with_what_became_worse_first(
    start: t.Callable[..., Service], visit: t.Callable[..., Visitor], tmp_path: Path
) -> None:
    tags = evaluated_versions(tmp_path / "service" / "data")
    service = start()
    for code, size in (("en", DESK), ("fr", PHONE)):
        visitor = visit(service, code, size)
        words, page = visitor.words, visitor.page
        visitor.open("/models/m")
        board = page.get_by_role("region", name=words("evaluation.title"), exact=True)
        expect(board.get_by_text(re.compile("48.50 = 96")).first).to_be_visible()
        page.get_by_text(words("evaluation.questions")).first.click()
        counts = {"first": 1, "last": 4, "total": 4, "worse": 2, "better": 1}
        caption = words("evaluation.page", tag=f"{tags[0]} / served", **counts)
        rows = page.get_by_role("region", name=caption, exact=True)
        expect(rows.get_by_role("row").nth(1)).to_contain_text("Demande Heat.", timeout=PATIENCE)
        expect(rows.get_by_role("row").nth(2)).to_contain_text("<script>alert(1)</script>")
        visitor.press("evaluation.compare")
        compared = words("evaluation.compared", one=tags[0], other=tags[1])
        expect(page.get_by_role("region", name=compared)).to_be_visible(timeout=PATIENCE)
        expect(board.get_by_role("row").filter(has_text="Demande Heat.")).to_contain_text("request_media")
        visitor.shoot("evaluations")


def test_errors_are_shown_at_their_fields(service: Service, visit: t.Callable[..., Visitor]) -> None:
    service.publish()
    visitor = visit(service, "fr", PHONE)
    configure_wrong = {"epochs": "-1", "learning_rate": "vite"}
    visitor.open("/")
    visitor.field("base_model").fill(service.base())
    visitor.field("base_model").press("Enter")
    visitor.field("dataset").click()
    visitor.page.get_by_role("option", name=re.compile("homelab_prompts")).click()
    for name, value in configure_wrong.items():
        visitor.field(name).fill(value)
    visitor.press("configure.plan")
    alerts = visitor.page.get_by_role("alert")
    expect(alerts.filter(has_text=visitor.words("configure.wrong", count=2))).to_be_visible(timeout=PATIENCE)
    for name in configure_wrong:
        expect(visitor.field(name)).to_have_attribute("aria-invalid", "true")
    expect(alerts.filter(has_text="Un nombre, supérieur à 0")).to_have_count(2)
    assert visitor.page.url.rstrip("/") == service.url
    visitor.shoot("wrong-fields")


def test_a_failed_run_begins_with_its_error(service: Service, visit: t.Callable[..., Visitor]) -> None:
    """And its log with the first cause, wherever it is; the run is dismissed, and in no list any more."""
    log = service.root / "recorded.log"
    log.write_bytes(recorded("failed-lora_target_torchrun.log"))
    run = service.lab.run("fails", f"cat {log}; exit 1")
    service.lab.apply(run)
    visitor = visit(service, "fr", PHONE)
    page, words = visitor.page, visitor.words
    visitor.open(f"/watch/{run.id}")
    said = "Le modèle de base n'a pas de modules {'q_prj'}."
    error, cause = page.get_by_role("alert").filter(has_text=said), page.locator("mark")
    expect(error).to_have_count(1, timeout=PATIENCE)
    expect(cause).to_contain_text("ValueError: Target modules {'q_prj'} not found", timeout=PATIENCE)
    places = [one.bounding_box() for one in (error, page.get_by_role("progressbar").first, cause)]
    tops = [place["y"] for place in places if place]
    assert len(tops) == 3 and tops == sorted(tops)
    page.wait_for_function(CAUSE_IS_SHOWN)
    visitor.shoot("failed")
    visitor.press("watch.dismiss")
    visitor.press("watch.dismiss_yes")
    page.wait_for_url("**/watch", timeout=PATIENCE)
    expect(page.get_by_text(words("watch.none"))).to_be_visible(timeout=PATIENCE)


def test_a_run_is_stopped_and_resumed(service: Service, visit: t.Callable[..., Visitor]) -> None:
    run = service.occupy("slow")
    visitor = visit(service, "en", DESK, color_scheme="dark")
    visitor.open(f"/watch/{run}")
    page = visitor.page
    visitor.press("watch.cancel")
    expect(page.get_by_role("dialog")).to_be_visible(timeout=PATIENCE)
    # an accidental key press stops nothing
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    visitor.press("watch.cancel")
    visitor.press("watch.cancel_yes")
    expect(page.locator(".chip").first).to_have_text(visitor.state("cancelled"), timeout=PATIENCE)
    visitor.shoot("stopped-dark")
    visitor.press("watch.resume")
    expect(page.locator(".chip").first).to_have_text(visitor.state("running"), timeout=PATIENCE)


def test_keyboard_only(service: Service, visit: t.Callable[..., Visitor]) -> None:
    visitor = visit(service, "en", DESK)
    visitor.open("/")
    page, words = visitor.page, visitor.words
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name=words("skip"))).to_be_focused()
    seen = []
    for _press in range(14):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUSED))
    order = [words(key) for _address, key in (("/", "nav.configure"), ("/plan", "nav.plan"), ("/watch", "nav.watch"))]
    positions = [seen.index(name) for name in [*order, "Français"]]
    assert positions == sorted(positions)
    assert any(name.startswith(words("field.base_model")) for name in seen), seen
    page.get_by_role("link", name="Français").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(Language("fr")("configure.title"), timeout=PATIENCE)
    assert page.evaluate("document.documentElement.lang") == "fr"
    visitor.shoot("empty")


def test_signing_in(start: t.Callable[..., Service], visit: t.Callable[..., Visitor], tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    digest = hashlib.sha256(b"open-sesame").hexdigest()
    tokens.write_text(json.dumps([{"name": "me", "scopes": ["read", "train"], "sha256": digest}]))
    service = start(tokens_file=str(tokens))
    visitor = visit(service, "fr", PHONE)
    page, words = visitor.page, visitor.words
    visitor.open("/watch")
    assert page.url.endswith("/login")
    visitor.shoot("login")
    page.get_by_label(words("sign.token")).fill("wrong")
    visitor.press("sign.in")
    expect(page.get_by_role("alert")).to_have_text(words("sign.wrong"), timeout=PATIENCE)
    page.get_by_label(words("sign.token")).fill("open-sesame")
    visitor.press("sign.in")
    expect(page.get_by_role("heading", level=1)).to_have_text(words("configure.title"), timeout=PATIENCE)
    visitor.press("sign.out")
    expect(page.get_by_label(words("sign.token"))).to_be_visible(timeout=PATIENCE)
