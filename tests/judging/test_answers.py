"""Trials, and scores of answers: what raters are asked, who is left out, and what is refused."""

import json

import numpy as np
import pytest
from scipy import special

from genjax.judging.answers import read_answers, score
from genjax.judging.trials import CHECK, DATA, make_trials, scrambled, to_key

ENTRIES = ("vae", "gan", "flow")
STRENGTHS = {"vae": -1.0, "gan": 1.0, "flow": 0.0, DATA: 2.0, CHECK: -20.0}


@pytest.fixture(scope="module")
def key():
    trials = make_trials(ENTRIES, ("real", "timed", "preference"), 30, 5, np.random.default_rng(0))
    return to_key(trials, "page", ENTRIES, {})


def answers_of(key, session, random, strengths=STRENGTHS):
    """Return the answers of a rater who chooses by strengths."""
    answers = []
    for number, trial in enumerate(key["trials"]):
        first, second = (strengths[key["contents"][name]] for name in trial["options"])
        chosen = trial["options"][int(random.random() >= special.expit(first - second))]
        answers.append({"trial": number, "left": trial["options"][0], "chosen": chosen, "milliseconds": 900})
    return {"page": key["page"], "session": session, "rater": session, "answers": answers}


def saved(tmp_path, *contents):
    paths = [tmp_path / f"{number}.json" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return paths


def test_every_entry_and_pair_is_asked_about_equally_often_and_no_example_twice(key):
    asked = [(t["task"], tuple(sorted(key["contents"][name] for name in t["options"]))) for t in key["trials"]]
    for task in ("real", "timed"):
        assert {entry: asked.count((task, tuple(sorted((entry, DATA))))) for entry in ENTRIES} == dict.fromkeys(
            ENTRIES, 10
        )
    for pair in (("gan", "vae"), ("flow", "vae"), ("flow", "gan")):
        assert asked.count(("preference", pair)) == 10
    assert asked.count(("real", (CHECK, DATA))) == 5
    names = [name for trial in key["trials"] for name in trial["options"]]
    assert len(names) == len(set(names)) == len(key["contents"])


def test_which_option_is_real_does_not_follow_from_the_order(key):
    firsts = [key["contents"][t["options"][0]] == DATA for t in key["trials"] if t["task"] != "preference"]
    assert 0.3 < np.mean(firsts) < 0.7
    assert all(t["options"] == sorted(t["options"]) for t in key["trials"])


def test_noise_has_the_values_of_the_data():
    x = np.random.default_rng(0).random((3, 4, 4, 1))
    noise = scrambled(x, np.random.default_rng(1))
    assert noise.shape == x.shape
    np.testing.assert_array_equal(np.sort(noise.reshape(3, -1)), np.sort(x.reshape(3, -1)))
    assert (noise != x).any()


def test_raters_with_known_preferences_are_recovered(key, tmp_path):
    random = np.random.default_rng(0)
    files = saved(tmp_path, *[answers_of(key, f"rater {i}", random) for i in range(30)])
    scores = score(read_answers(files, key), ENTRIES)
    assert (scores["raters"], scores["answers"], scores["left_out"]) == (30, 30 * 90, {})
    assert [row["entry"] for row in scores["ranking"]] == ["gan", "flow", "vae"]
    for row in scores["ranking"]:
        assert row["low"] < STRENGTHS[row["entry"]] < row["high"]
    assert sum(row["wins"] for row in scores["ranking"]) == sum(row["losses"] for row in scores["ranking"]) == 900
    for task in ("real", "timed"):
        for entry in ENTRIES:
            rate = scores["error_rate"][task][entry]
            assert rate["low"] < special.expit(STRENGTHS[entry] - STRENGTHS[DATA]) < rate["high"]
            assert rate["answers"] == 300
    assert 0 < scores["agreement"]["real"] < 1


def test_raters_who_fail_attention_checks_are_left_out(key, tmp_path):
    random = np.random.default_rng(0)
    careless = answers_of(key, "careless", random, {**STRENGTHS, CHECK: 20.0})
    files = saved(tmp_path, *[answers_of(key, f"rater {i}", random) for i in range(3)], careless)
    answers = read_answers(files, key)
    scores = score(answers, ENTRIES)
    assert scores["left_out"] == {"careless": 1.0}
    assert scores["answers"] == 3 * 90
    assert score(answers, ENTRIES, max_failed=1.0)["answers"] == 4 * 90


def test_no_answers_are_no_scores(key):
    scores = score([], ENTRIES)
    assert (scores["raters"], scores["ranking"], scores["error_rate"], scores["agreement"]) == (0, [], {}, {})


def damaged(content, **changes):
    return content | {"answers": [content["answers"][0] | changes]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: "no JSON", "0.json is not JSON"),
        (lambda content: {"page": "page"}, "0.json has no answers; pass files that raters saved"),
        (lambda content: content | {"answers": 5}, "0.json has no answers"),
        (lambda content: content | {"page": "other"}, "0.json is of page other, but the key of page page"),
        (lambda content: damaged(content, trial=95), "which fits no question; leave the file out"),
        (lambda content: damaged(content, trial=True), "which fits no question"),
        (lambda content: damaged(content, chosen="x"), "which fits no question"),
        (lambda content: content | {"answers": content["answers"][:1] * 2}, "which fits no question"),
    ],
)
def test_files_that_are_not_answers_are_named(key, tmp_path, change, message):
    content = answers_of(key, "rater", np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        read_answers(saved(tmp_path, change(content)), key)


def test_one_rater_counts_once(key, tmp_path):
    content = answers_of(key, "rater", np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"0.json and .*1.json are of one rater; leave one out"):
        read_answers(saved(tmp_path, content, content), key)
