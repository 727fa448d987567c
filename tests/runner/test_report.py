"""The report of a run holds its numbers, and all of its links resolve."""

import re
from urllib.parse import unquote

import numpy as np
import pytest

from genjax.figures.images import save_picture
from genjax.runner.log import MetricLog
from genjax.runner.report import write_report
from genjax.runner.shell import genjax_command


def make_report(folder, **changes):
    log = MetricLog(folder, seeds=(3, 4, 5))
    log.write(100, {"loss": np.array([9.0, 10.0, 11.0])})
    for step, bound in ((100, -90.0), (200, -80.0), (300, -85.0)):
        bounds = bound + np.array([-1.0, 0.0, 1.0])
        log.write(step, {"validation/log_prob_lower_bound": bounds, "validation/loss": -bounds})
    log.write(300, {"loss": np.array([1.0, 2.0, 3.0])})
    log.close()
    defaults = {
        "title": "vae_digits",
        "description": "Gaussian VAE on digits.\n\nSecond paragraph.",
        "arguments": {"latent_dim": 16, "pattern": "a|b", "tick": "`"},
        "environment": {"device": "cpu", "packages": {"jax": "0.10.2"}},
        "rows": log.rows,
        "results": {"log_prob_estimate": np.array([-81.0, -80.0, -79.0]), "seconds": 12.5, "n/a": None},
        "samples": "samples/step 300.png",
        "wall_clock_s": 754.2,
        "seeds": (3, 4, 5),
    }
    return write_report(folder, **(defaults | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("my runs") / "a run"
    save_picture(folder / "samples" / "step 300.png", np.zeros((4, 4, 3), np.uint8))
    (folder / "vae_digits.py").write_text("")
    make_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.md").read_text()


def test_it_begins_with_what_was_run(page):
    assert page.startswith("# vae_digits\n\n300 steps in 12 min 34 s; 3 seeds (3, 4, 5), mean ± sd.\n\n## Results\n")


def test_claims_of_the_recipe_are_not_those_of_the_run(page):
    recipe = (
        "## Recipe\n\nFrom the experiment file; its numbers are of other runs.\n\nGaussian VAE on digits.\n\nSecond"
    )
    assert page.index("## Results") < page.index("## Arguments") < page.index(recipe)


@pytest.mark.parametrize(
    "line",
    [
        "| log_prob_estimate | -80.0 ± 1.0 |",
        "| seconds | 12.5 |",
        "| n/a | n/a |",
        "| loss | 2.0 ± 1.0 |  |",
        "| validation/log_prob_lower_bound | -85.0 ± 1.0 | highest -80.0 ± 1.0 at step 200 |",
        "| validation/loss | 85.0 ± 1.0 | lowest 80.0 ± 1.0 at step 200 |",
        "| latent_dim | `16` |",
        "| pattern | `a\\|b` |",
        "| tick | `` ` `` |",
        "| device | `cpu` |",
        "| packages/jax | `0.10.2` |",
    ],
)
def test_its_tables_hold_the_numbers(page, line):
    assert line in page.splitlines()


def test_all_rows_of_a_table_have_the_same_cells(page):
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_every_link_is_relative_and_leads_to_a_file(folder, page):
    quoted = re.findall(r"\]\((.*?)\)", page)
    assert not re.search(r"\s", "".join(quoted))
    links = [unquote(link) for link in quoted]
    assert {"curves.png", "samples/step 300.png", "vae_digits.py", "metrics.jsonl"} <= set(links)
    for link in links:
        assert not link.startswith("/")
        assert (folder / link).exists()


def test_commands_name_the_folder(folder, page):
    for command in (
        genjax_command("sample", folder, "-n", "64"),
        genjax_command("evaluate", folder),
        genjax_command("train", folder / "vae_digits.py", "--workdir", folder, "--resume"),
    ):
        assert re.search(rf"^{re.escape(command)} +# ", page, flags=re.MULTILINE)


def test_what_is_missing_is_left_out(tmp_path):
    nothing = {"rows": [], "results": {}, "arguments": {}, "seeds": (7,), "wall_clock_s": 4.25}
    page = make_report(tmp_path, description="", samples="not_there.png", **nothing).read_text()
    assert "0 steps in 4.2 s; seed 7." in page
    assert "not_there" not in page
    assert "Results" not in page
    assert "Recipe" not in page
    assert "Arguments" not in page
    assert "--resume" not in page
    assert "![curves](curves.png)" in page


def test_a_metric_that_was_never_finite_says_so(tmp_path):
    rows = [{"step": 1, "validation/loss": float("nan")}, {"step": 2, "loss": None}]
    page = make_report(tmp_path, rows=rows, samples=None).read_text()
    assert "| validation/loss | nan | none is finite |" in page
