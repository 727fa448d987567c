"""The page in a real browser: answered by mouse and keys, saved, continued after a reload, and scored."""

import json
import re
import shutil

import numpy as np
import pytest

from genjax.judging.make import key_of, write_page
from genjax.judging.page import Medium, make_page
from genjax.judging.trials import DATA, make_trials
from tests.comparison.conftest import copy_run


@pytest.fixture(scope="module")
def runs(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    return [shutil.copytree(tiny_run, folder / "one"), copy_run(tiny_run, folder / "other", experiment="another")]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "judge.html"
    write_page(runs, out, num_trials=4, num_checks=2, exposure=100)
    return out


def test_the_page_neither_loads_anything_nor_says_what_it_shows(page):
    text, key = page.read_text(), json.loads(key_of(page).read_text())
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert not any(word in text for word in (*key["entries"], DATA + '"', "attention check"))
    assert len(key["trials"]) == 14
    assert key["entries"] == ["tiny", "another"]


def test_examples_are_as_large_as_their_pictures(page):
    content = json.loads(re.search(r'id="content">(.*?)</script>', page.read_text())[1])
    assert all(medium["content"].startswith("data:image/png;base64,") for medium in content["media"].values())
    assert set(content["media"]) == {name for trial in content["trials"] for name in trial["options"]}


def test_texts_cannot_end_the_page():
    trials = make_trials(["gpt"], ["real"], 1, 0, np.random.default_rng(0))
    media = {name: Medium("text", "</script><b>bold</b>") for name in trials.contents}
    assert "</script><b>" not in make_page(trials, media, title="<i>", exposure=1)


@pytest.fixture(params=["light", "dark"])
def opened(browser, page, request):
    """Open the page in a colour scheme, and require that it makes no request and logs nothing."""
    context = browser.new_context(color_scheme=request.param)
    tab, faults = context.new_page(), []
    tab.on("console", lambda message: faults.append(message.text))
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("request", lambda each: None if each.url.startswith(("data:", "blob:")) else faults.append(each.url))
    tab.goto(page.as_uri())
    yield tab
    assert set(faults) == {page.as_uri()}
    context.close()


def wait_for(tab, number):
    """Wait until a question is asked and its examples are there."""
    asked = f"document.getElementById('progress-text').textContent.startsWith('{number} of')"
    tab.wait_for_function(f"{asked} && current?.began !== undefined")


def test_a_rater_answers_by_mouse_and_keys_and_goes_on_after_a_reload(opened, page, genjax, tmp_path):
    opened.get_by_label("Your name").fill("Ada L.")
    opened.get_by_role("button", name="Begin").click()
    wait_for(opened, 1)
    opened.get_by_role("button", name="Left").click()
    wait_for(opened, 2)
    opened.keyboard.press("ArrowRight")
    wait_for(opened, 3)
    opened.reload()
    assert "You have answered 2 of them" in opened.locator("#count").text_content()
    opened.get_by_role("button", name="Begin").click()
    for number in range(3, 15):
        wait_for(opened, number)
        opened.keyboard.press("ArrowLeft")
    with opened.expect_download() as download:
        opened.get_by_role("link", name="Save answers").click()
    assert download.value.suggested_filename == "answers-Ada_L_.json"
    download.value.save_as(tmp_path / "answers.json")
    saved = json.loads((tmp_path / "answers.json").read_text())
    assert saved == json.loads(opened.locator("#answers").input_value())
    assert saved["answers"][0]["chosen"] == saved["answers"][0]["left"]
    assert saved["answers"][1]["chosen"] != saved["answers"][1]["left"]
    assert sorted(answer["trial"] for answer in saved["answers"]) == list(range(14))
    status, out, err = genjax("judge", "--score", tmp_path / "answers.json", "--key", key_of(page), "--json")
    assert status == 0, err
    assert json.loads(out)["raters"] == 1


def test_timed_examples_vanish(opened):
    opened.get_by_role("button", name="Begin").click()
    for number in range(1, 15):
        wait_for(opened, number)
        if "for a moment" in opened.locator("#question").text_content():
            opened.wait_for_function("document.querySelectorAll('.medium img').length === 0")
            return
        assert opened.locator(".medium img").count() == 2
        opened.locator(".medium img").first.click()
    raise AssertionError("no question was timed")


def test_accessibility_checkers_find_nothing(opened):
    axe = pytest.importorskip("axe_core_python.sync_playwright")
    for _ in ("start", "question"):
        violations = axe.Axe().run(opened)["violations"]
        assert [each["id"] for each in violations if each["impact"] in ("serious", "critical")] == []
        if opened.locator("#start").is_visible():
            opened.get_by_role("button", name="Begin").click()
            wait_for(opened, 1)


def test_runs_of_other_data_are_refused(runs, tmp_path):
    with pytest.raises(ValueError, match="is named twice; name each run once"):
        write_page([runs[0], runs[0]], tmp_path / "judge.html")
    with pytest.raises(ValueError, match="a preference is between two runs, but there is one"):
        write_page(runs[:1], tmp_path / "judge.html")
    with pytest.raises(ValueError, match=r"split is 'tests', but 'random' has .*; use one of these"):
        write_page(runs, tmp_path / "judge.html", split="tests")
    with pytest.raises(ValueError, match="different examples are needed, but split"):
        write_page(runs, tmp_path / "judge.html", num_trials=900)


def test_the_command_asks_what_the_runs_allow(genjax, runs, tmp_path):
    status, out, err = genjax("judge", runs[0], "--out", tmp_path / "judge.html", "--num-trials", 2)
    assert status == 0, err
    assert f"wrote {tmp_path}/judge.html: 9 questions; send it to raters, keep {tmp_path}/judge.key.json" in out
    key = json.loads((tmp_path / "judge.key.json").read_text())
    assert {trial["task"] for trial in key["trials"]} == {"real", "timed"}
