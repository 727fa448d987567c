"""What cannot work is refused before anything compiles, in one line with the value, the limit and the cure."""

import jax
import jax.numpy as jnp
import pytest
from jax.core import Tracer

from genjax import latent, nets, ops, vae


class Traced:
    """Network that may be traced but not run."""

    def __init__(self, net):
        self.net = net

    def init(self, key, x):
        assert isinstance(x, Tracer)
        return self.net.init(key, x)

    def apply(self, variables, x):
        assert isinstance(x, Tracer)
        return self.net.apply(variables, x)


def model(**changes):
    fields = {
        "latent_dim": 16,
        "encoder": nets.MLP((8, 32)),
        "decoder": nets.MLP((8, 10)),
        "likelihood": ops.Bernoulli(),
    }
    return vae.VAE(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_dim": 0}, "latent_dim is 0, but must be at least 1"),
        ({"beta": -1.0}, "beta is -1.0, but must be at least 0"),
        ({"beta": float("nan")}, "beta is nan, but must be a finite number"),
        ({"kl_warmup_steps": -5}, "kl_warmup_steps is -5, but must be at least 0"),
        ({"num_classes": 0}, "num_classes is 0, but must be at least 1; use None for an unconditional model"),
    ],
)
def test_fields(changes, message):
    with pytest.raises(ValueError, match=message):
        model(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"encoder": nets.MLP((8, 30))},
            r"encoder returned shape \(4, 30\), but latent_dim=16 needs \(4, 32\): give its output the shape \(32,\)",
        ),
        (
            {"decoder": nets.MLP((8, 12))},
            r"decoder returned shape \(4, 12\), but Bernoulli\(\) for x of shape \(4, 10\) needs \(4, 10\): give",
        ),
        (
            {"likelihood": ops.DiscretizedLogistic(17)},
            r"DiscretizedLogistic\(levels=17\) for x of shape \(4, 10\) needs \(4, 20\): give",
        ),
    ],
)
def test_networks_that_do_not_fit(changes, message):
    fields = {"encoder": nets.MLP((8, 32)), "decoder": nets.MLP((8, 10))} | changes
    fields |= {name: Traced(fields[name]) for name in ("encoder", "decoder")}
    with pytest.raises(ValueError, match=message):
        model(**fields).init(jax.random.key(0), {"x": jnp.zeros((4, 10))})


def test_data_without_axes():
    with pytest.raises(ValueError, match=r"x has shape \(4,\), but needs a batch axis and data axes; reshape it"):
        model().init(jax.random.key(0), {"x": jnp.zeros(4)})


def test_empty_batches():
    with pytest.raises(ValueError, match=r"x has shape \(0, 10\), but needs at least one example"):
        model().init(jax.random.key(0), {"x": jnp.zeros((0, 10))})


def test_counts():
    variables = model().init(jax.random.key(0), {"x": jnp.zeros((4, 10))})
    x, key = jnp.zeros((4, 10)), jax.random.key(1)
    with pytest.raises(ValueError, match="num_samples is 0, but must be at least 1"):
        model().sample(variables, key, 0)
    with pytest.raises(ValueError, match="num_samples is -1, but must be at least 1"):
        model().log_prob_estimate(variables, key, x, -1)
    with pytest.raises(ValueError, match="chunk_size is 0, but must be at least 1"):
        model().log_prob_lower_bound(variables, key, x, 3, chunk_size=0)
    with pytest.raises(ValueError, match="num_steps is 1, but must be at least 2"):
        latent.interpolate(model(), variables, x, x, 1)
