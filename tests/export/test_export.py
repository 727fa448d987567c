"""Exported programs compute what the run does, in a process that knows nothing of this library."""

import json
import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.capabilities import conditioning
from genjax.export import export_run, load
from tests.contract.registry import CASES, FAMILIES
from tests.export.runs import untrained_run
from tests.running import QUICK

pytest.importorskip("flatbuffers")
FIRST = [family.CASES[0] for family in FAMILIES]
SETTINGS = {"diffusion": {"num_steps": 3}, "rbm": {"num_steps": 5}}
WHAT = {
    "made": ("sample", "log_prob"),
    "nice": ("sample", "log_prob"),
    "vae": ("sample", "log_prob_lower_bound", "decode"),
}
NUM_ROWS = 3
ALONE = """
import importlib.util, json, sys
import numpy as np

for folder in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("load", folder + "/load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    inputs = dict(np.load(folder + "/inputs.npz"))
    card = json.load(open(folder + "/card.json"))
    programs, outputs = module.load(folder), {}
    for name, entry in card["programs"].items():
        outputs[name] = programs[name](**{each["name"]: inputs[each["name"]] for each in entry["inputs"]})
    np.savez(folder + "/outputs.npz", **outputs)
others = {"genjax", "flax", "optax", "safetensors", "orbax"} & {name.partition(".")[0] for name in sys.modules}
assert not others, others
"""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_model_is_exported_for_any_number_of_rows(case, tmp_path):
    names = export_run(untrained_run(case), tmp_path, platforms=("cpu", "cuda", "tpu"), likelihood_samples=2)
    assert "sample" in names
    assert json.loads((tmp_path / "card.json").read_text())["batch_size"] == "any"


def case_named(name):
    return next(case for case in CASES if case.name == name)


def expected(run, name, settings, key_data, x, latent, conditions):
    """Return what the model's own methods compute, keys row by row."""
    model, variables = run.model, run.variables
    if name == "log_prob":
        return model.log_prob(variables, x, **conditions)
    if name == "decode":
        return model.decode(variables, latent, **conditions)
    keys = [jax.random.wrap_key_data(row, impl="threefry2x32") for row in key_data]
    rows = [(i, key, {entry: value[i : i + 1] for entry, value in conditions.items()}) for i, key in enumerate(keys)]
    if name == "sample":
        return jnp.concatenate([run.sample(key, 1, **settings, **row) for _, key, row in rows])
    method = jax.jit(partial(getattr(model, name), variables))
    return jnp.concatenate([method(key, x[i : i + 1], **row) for i, key, row in rows])


def test_a_process_without_this_library_gets_the_same_numbers(tmp_path):
    runs, inputs = {case.name: untrained_run(case) for case in FIRST}, {}
    rng = np.random.default_rng(0)
    for case in FIRST:
        run, settings = runs[case.name], SETTINGS.get(case.name, {})
        export_run(
            run, tmp_path / case.name, what=WHAT.get(case.name, ("sample",)), platforms=("cpu",), sample_kwargs=settings
        )
        batch = {name: array[:NUM_ROWS] for name, array in case.batch(jax.random.key(2)).items()}
        inputs[case.name] = conditioning(run.model, batch) | {
            "key": rng.integers(0, 2**32, (NUM_ROWS, 2), np.uint32),
            "x": batch["x"],
        }
        card = json.loads((tmp_path / case.name / "card.json").read_text())
        if "decode" in card["programs"]:
            (latent,) = (each for each in card["programs"]["decode"]["inputs"] if each["name"] == "latent")
            inputs[case.name]["latent"] = rng.normal(size=(NUM_ROWS, *latent["shape"])).astype(latent["dtype"])
        np.savez(tmp_path / case.name / "inputs.npz", **inputs[case.name])
    folders = [str(tmp_path / case.name) for case in FIRST]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **QUICK}
    process = subprocess.run(
        [sys.executable, "-c", ALONE, *folders],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    for name, run in runs.items():
        outputs = np.load(tmp_path / name / "outputs.npz")
        conditions = dict(inputs[name])
        fixed = [conditions.pop(entry, None) for entry in ("key", "x", "latent")]
        for program in outputs:
            result = expected(run, program, SETTINGS.get(name, {}), *fixed, conditions)
            scale = max(1.0, np.abs(result).max())
            np.testing.assert_allclose(outputs[program], result, atol=1e-6 * scale, err_msg=f"{name} {program}")


@pytest.fixture(scope="module")
def nice(tmp_path_factory):
    """Return a run of a flow and the folder of its export."""
    run = untrained_run(case_named("real_nvp"))
    folder = tmp_path_factory.mktemp("export") / "flow"
    assert export_run(run, folder, what=("sample", "log_prob")) == ("sample", "log_prob")
    return run, folder


def test_the_card_says_what_programs_take(nice):
    run, folder = nice
    card = json.loads((folder / "card.json").read_text())
    (key,), (x,) = (card["programs"][name]["inputs"] for name in ("sample", "log_prob"))
    assert (key["name"], key["shape"], key["dtype"]) == ("key", [2], "uint32")
    assert (x["name"], tuple(x["shape"]), x["dtype"]) == ("x", run.experiment.batch_spec()["x"].shape, "float32")
    assert card["programs"]["log_prob"]["output"]["meaning"] == "log-density of x, nats per example"
    assert (card["batch_size"], card["step"], card["seed"]) == ("any", 0, 0)
    assert set(card["files"]) == {path.name for path in folder.iterdir()} - {"card.json"}
    assert card["versions"]["jax"] == jax.__version__


def test_any_number_of_rows_and_only_the_weights_that_are_used(tmp_path):
    run = untrained_run(case_named("vae"))
    export_run(run, tmp_path, what=("sample",), sample_kwargs={"mean": True})
    card = json.loads((tmp_path / "card.json").read_text())
    assert {name.split("/")[1] for name in card["programs"]["sample"]["weights"]} == {"decoder"}
    assert card["programs"]["sample"]["settings"] == {"mean": True}
    sample = load(tmp_path)["sample"]
    keys = np.array([[3, i] for i in range(4)], np.uint32)
    np.testing.assert_allclose(sample(key=keys)[2:3], sample(key=keys[2:3]), rtol=1e-6)


def test_a_fixed_number_of_rows(tmp_path, nice):
    run, _ = nice
    (tmp_path / "card.json").write_text("an earlier export")
    (tmp_path / "decode.stablehlo").write_text("an earlier program")
    export_run(run, tmp_path, what=("log_prob",), batch_size=2, platforms=("cpu",))
    assert not (tmp_path / "decode.stablehlo").exists()
    log_prob, x = load(tmp_path)["log_prob"], jnp.zeros((3, *run.experiment.batch_spec()["x"].shape))
    np.testing.assert_allclose(log_prob(x=x[:2]), run.model.log_prob(run.variables, x[:2]), rtol=1e-6)
    with pytest.raises(ValueError, match="shape"):
        log_prob(x=x)


def test_a_prompt_is_an_input(tmp_path):
    run = untrained_run(case_named("gpt"))
    export_run(run, tmp_path, what=("sample",), prompt_length=2, platforms=("cpu",))
    prompts = np.array([[1, 2], [3, -1], [-1, -1]], np.int32)
    keys = np.array([[0, seed] for seed in range(3)], np.uint32)
    x = np.asarray(load(tmp_path)["sample"](key=keys, prompt=prompts))
    assert x[0, :2].tolist() == [1, 2] and x[1, 0] == 3
    for seed, prompt in enumerate(prompts):
        np.testing.assert_array_equal(x[seed], run.sample(jax.random.key(seed), 1, prompt=prompt[None])[0])


def test_what_cannot_be_exported_is_told_in_one_line(tmp_path, nice):
    run, _ = nice
    with pytest.raises(
        ValueError, match=r"^Flow has no log_prob_lower_bound; export sample, log_prob, encode, decode$"
    ):
        export_run(run, tmp_path, what=("log_prob_lower_bound",))
    with pytest.raises(ValueError, match=r"^prompt_length is 4, but Flow takes no prompt that samples begin with"):
        export_run(run, tmp_path, prompt_length=4)
    gan = untrained_run(case_named("gan"))
    with pytest.raises(ValueError, match=r"^GAN has no log_prob; export sample"):
        export_run(gan, tmp_path, what=("log_prob",))
    (tmp_path / "mine").write_text("notes")
    with pytest.raises(ValueError, match="is not empty and holds no export; choose another folder"):
        export_run(run, tmp_path)


@pytest.mark.parametrize("name", ["card.json", "weights.safetensors", "sample.stablehlo"])
def test_missing_files_are_named(tmp_path, nice, name):
    for file in nice[1].iterdir():
        if file.name != name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match=rf"{name} is missing; export the run again"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["card.json", "weights.safetensors", "log_prob.stablehlo"])
def test_damaged_files_are_named(tmp_path, nice, name):
    for file in nice[1].iterdir():
        content = bytearray(file.read_bytes())
        (tmp_path / file.name).write_bytes(content[: len(content) // 2] if file.name == name else content)
    with pytest.raises(ValueError, match=rf"{name} is damaged; export the run again"):
        load(tmp_path)


def test_export_on_the_command_line(genjax, tiny_run, tmp_path):
    command = ("export", tiny_run, "--what", "sample,decode", "--platforms", "cpu", "--out", tmp_path / "vae")
    status, out, err = genjax(*command, "--mean")
    assert status == 0, err
    assert out.startswith(f"wrote {tmp_path / 'vae'}: sample, decode at step 40")
    x = load(tmp_path / "vae")["sample"](key=np.array([[0, 5]], np.uint32))
    assert x.shape == (1, 4, 4, 1) and 0 < float(x.min()) < float(x.max()) < 1
    status, _, err = genjax("export", tiny_run, "--what", "sample,log_prob", "--out", tmp_path / "other")
    assert status == 2
    assert err == (
        "genjax: error: VAE has no log_prob; export sample, log_prob_lower_bound, log_prob_estimate, encode, decode\n"
    )
    assert "--platforms" in genjax("export", "--help")[1]
