"""Images from prompts on the command line, and what is said of words that no caption has."""

import numpy as np
import pytest

from genjax.cli.main import main
from tests.running import TINY

PROMPTED = TINY.parent / "prompted.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompted") / "run"
    with pytest.raises(SystemExit) as stop:
        main(["train", str(PROMPTED), "--workdir", str(folder)])
    assert stop.value.code == 0
    return folder


def drawn(genjax, run, tmp_path, *flags):
    status, out, err = genjax("sample", run, "-n", "2", "--seed", "0", "--out", tmp_path / "x.npy", *flags)
    assert status == 0, err
    return np.load(tmp_path / "x.npy"), out


def test_prompts_and_negative_prompts_are_flags(genjax, run, tmp_path):
    prompt = ("--prompt", "a photo of an ankle boot")
    free, _ = drawn(genjax, run, tmp_path)
    x, out = drawn(genjax, run, tmp_path, *prompt)
    assert 'samples of "a photo of an ankle boot" at step 2' in out
    guided, _ = drawn(genjax, run, tmp_path, *prompt, "--guidance", "3")
    negative, _ = drawn(genjax, run, tmp_path, *prompt, "--guidance", "3", "--negative-prompt", "trouser")
    variants = [free, x, guided, negative]
    assert all(np.abs(a - b).max() > 1e-4 for i, a in enumerate(variants) for b in variants[:i])
    assert (run / "samples.png").stat().st_size > 0


def test_unknown_words_and_long_prompts_are_refused(genjax, run):
    for prompt, message in (
        ("a photo of a red cat", "'red', 'cat' are not among the 7 words of the vocabulary"),
        ("a a a a a a a", "--prompt has 7 tokens, but at most 6 fit; shorten the text"),
    ):
        status, _, err = genjax("sample", run, "--prompt", prompt)
        assert (status, message in err) == (2, True), err


def test_an_encoder_that_does_not_know_all_words_is_refused(genjax, tmp_path):
    status, _, err = genjax("train", PROMPTED, "--num-tokens", "6", "--workdir", tmp_path / "run")
    assert status == 2
    assert "Diffusion knows 6 tokens of 'prompt', but those of 'clothes_captioned' are 0 to 7; use num_tokens=8" in err
