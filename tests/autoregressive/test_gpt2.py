"""GPT-2 weights: loading, saving, errors, and the same logits as the transformers library."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from genjax.autoregressive import GPT, load_gpt2, save_gpt2


def small():
    model = GPT(num_values=11, length=9, num_layers=3, num_heads=2, features=8, stop_token=10)
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((1, 9), jnp.int32)})
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: a + 0.3 * jnp.float32(rng.normal(size=a.shape)), variables.params)
    params["net"]["start"] = params["net"]["embedding"][10]
    return model, variables._replace(params=params)


def test_weights_come_back_as_they_were_written(tmp_path):
    model, variables = small()
    save_gpt2(tmp_path / "model.safetensors", model, variables)
    loaded_model, loaded_variables = load_gpt2(tmp_path / "model.safetensors", num_heads=2)
    assert loaded_model == model
    jax.tree.map(np.testing.assert_array_equal, loaded_variables, variables)


def test_refuses_what_is_no_gpt2(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_gpt2(tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load_gpt2(tmp_path / "broken.safetensors")
    model, variables = small()
    save_gpt2(tmp_path / "model.safetensors", model, variables)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["h.1.mlp.c_fc.bias"]
    save_file(weights, tmp_path / "less.safetensors")
    with pytest.raises(ValueError, match=r"has no h\.1\.mlp\.c_fc\.bias, so it is not a GPT-2"):
        load_gpt2(tmp_path / "less.safetensors")
    other = GPT(num_values=11, length=9, num_layers=3, num_heads=2, features=8, positions="rotary")
    with pytest.raises(ValueError, match="is not a GPT-2, which has positions='learned'"):
        save_gpt2(tmp_path / "other.safetensors", other, variables)


CONFIG = {"model_type": "gpt2", "vocab_size": 11, "n_embd": 8, "n_layer": 3, "n_head": 2, "eos_token_id": 10}


def write(folder, config=None, **changed):
    """Write the small model with changed weights and with a config, and return the path."""
    model, variables = small()
    path = folder / "model.safetensors"
    save_gpt2(path, model, variables)
    save_file(load_file(path) | changed, path)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(CONFIG | config))
    return path


def test_the_config_beside_the_weights_says_how_they_are_used(tmp_path):
    path = write(tmp_path, {"eos_token_id": 7, "bos_token_id": 4})
    model, variables = load_gpt2(path)
    assert (model.num_heads, model.stop_token) == (2, 7)
    np.testing.assert_array_equal(variables.params["net"]["start"], variables.params["net"]["embedding"][4])
    with pytest.raises(
        ValueError, match=r"stop_token is 7, but a GPT-2 without a config.json ends texts with its last"
    ):
        save_gpt2(tmp_path / "again.safetensors", model, variables)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vocab_size": 10}, "config.json says vocab_size=10, but it is 11 in"),
        ({"n_inner": 8}, "config.json says n_inner=8, but it is 32"),
        ({"eos_token_id": 50_256}, "texts begin with token 50256, but .* has tokens 0 … 10"),
        ({"activation_function": "relu"}, "says activation_function='relu', but only 'gelu_new' is understood"),
        ({"tie_word_embeddings": False}, "says tie_word_embeddings=False, but only True is understood"),
        ({"model_type": "gpt_neo"}, "says model_type='gpt_neo', but only 'gpt2' is understood"),
    ],
)
def test_refuses_a_config_that_it_does_not_understand(config, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_gpt2(write(tmp_path, config))


def test_refuses_weights_that_a_gpt2_has_not(tmp_path):
    tied = load_file(write(tmp_path))["wte.weight"]
    load_gpt2(write(tmp_path, **{"lm_head.weight": tied, "h.0.attn.bias": np.ones((1, 1, 9, 9))}), num_heads=2)
    with pytest.raises(
        ValueError, match=r"lm_head.weight of .* differs from wte.weight, but the head of a GPT-2 is tied"
    ):
        load_gpt2(write(tmp_path, **{"lm_head.weight": tied + 1}), num_heads=2)
    with pytest.raises(ValueError, match=r"has h.0.adapter.weight, which a GPT-2 has not; remove it"):
        load_gpt2(write(tmp_path, **{"h.0.adapter.weight": tied}), num_heads=2)
    padded = np.zeros((50_304, 8), np.float32)
    with pytest.raises(
        ValueError, match=r"has 50304 tokens, but GPT-2 has 50257, so the last one may not be what ends"
    ):
        load_gpt2(write(tmp_path, **{"wte.weight": padded}), num_heads=2)


@pytest.mark.peers
def test_log_probabilities_are_those_of_transformers(tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=16, n_embd=24, n_layer=3, n_head=3, bos_token_id=49, eos_token_id=49
    )
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    weights = {name: value.numpy() for name, value in theirs.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, tmp_path / "model.safetensors")
    model, variables = load_gpt2(tmp_path / "model.safetensors", num_heads=3)
    x = np.random.default_rng(0).integers(0, 49, (4, 15))
    with torch.no_grad():
        logits = theirs(torch.tensor(np.concatenate([np.full((4, 1), 49), x[:, :-1]], axis=1))).logits
    log_prob = torch.log_softmax(logits, -1).gather(2, torch.tensor(x)[..., None])[..., 0].sum(1)
    np.testing.assert_allclose(model.log_prob(variables, jnp.asarray(x)), log_prob, rtol=1e-4)

    cache, step = model._decoder(variables.params["net"], 4)
    cache = cache.grow(15)
    before = np.concatenate([x[:, :1], x[:, :-1]], axis=1)
    _, ours = jax.lax.scan(lambda cache, token: step(cache, token)[::-1], cache, jnp.asarray(before.T))
    np.testing.assert_allclose(ours.swapaxes(0, 1), logits, rtol=1e-4, atol=1e-4)
