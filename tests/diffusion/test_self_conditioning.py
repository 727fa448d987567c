"""Self-conditioning with a linear network, whose every output and gradient is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion
from genjax.core import Variables, stream_key
from genjax.diffusion import parametrizations, processes, samplers
from genjax.nets import DenoisingMLP


@dataclasses.dataclass(frozen=True)
class LinearNet:
    """a x + b x̃₀ + the first class's one-hot entry, and as many outputs that must not be used."""

    def init(self, key, x, level, *condition):
        del key, x, level, condition
        return {"params": {"a": jnp.float32(0.5), "b": jnp.float32(0.3)}}

    def apply(self, variables, x, level, *condition):
        del level
        x, estimate = jnp.split(x, 2, axis=-1)
        output = variables["params"]["a"] * x + variables["params"]["b"] * estimate
        if condition:
            output = output + condition[0][:, :1]
        return jnp.concatenate([output, jnp.full_like(x, jnp.nan)], axis=-1)


X = jax.random.normal(jax.random.key(0), (4, 2))


def make(**options):
    """A model whose network predicts the data."""
    settings = {"process": processes.Cosine(), "parametrization": parametrizations.Data(), "num_steps": 3}
    model = diffusion.Diffusion(shape=(2,), net=LinearNet(), self_conditioning=True, **settings | options)
    batch = {"x": X} | ({} if model.num_classes is None else {"label": jnp.arange(4) % 2})
    return model, model.init(jax.random.key(1), batch)


def scaled(model, x, t):
    level = processes.level_at(model.process, jnp.float32(t))
    return model.parametrization.input_scale(level) * x


def test_each_step_of_sampling_gets_the_estimate_of_the_one_before():
    model, variables = make(sampler=samplers.DDIM())
    noise_key, _ = jax.random.split(jax.random.key(2))
    levels = model.levels(None, None)
    x, estimate = levels.sigma[0] * jax.random.normal(noise_key, (4, 2)), jnp.zeros((4, 2))
    for i in range(3):
        t, s = (jax.tree.map(lambda a, j=j: a[j], levels) for j in (i, i + 1))
        estimate = 0.5 * scaled(model, x, t.time) + 0.3 * estimate
        noise = (x - t.alpha * estimate) / t.sigma
        x = estimate if i == 2 else s.alpha * estimate + s.sigma * noise
    np.testing.assert_allclose(model.sample(variables, jax.random.key(2), 4), x, rtol=1e-5)


def test_guidance_gives_both_terms_the_same_estimate():
    model, variables = make(num_classes=2)
    guided = model.denoiser(variables, label=jnp.int32(0), guidance=3.0)
    assert isinstance(guided, samplers.SelfConditioned)
    t, estimate = jnp.float32(0.4), jnp.flip(X, axis=0)
    expected = 0.5 * scaled(model, X, t) + 0.3 * estimate + 3.0  # the class adds 1, no class 0
    np.testing.assert_allclose(guided.given(estimate)(X, t).data, expected, rtol=1e-5)
    np.testing.assert_allclose(guided(X, t).data, expected - 0.3 * estimate, rtol=1e-5)


def test_predictions_alone_have_no_estimate():
    model, variables = make()
    t = jnp.full(4, 0.4)
    np.testing.assert_allclose(model.predict(variables, X, t).data, 0.5 * scaled(model, X, 0.4), rtol=1e-5)
    assert np.isfinite(model.log_prob_lower_bound(variables, jax.random.key(3), X)).all()


def test_half_of_the_batches_train_on_their_own_estimate_whose_gradient_is_cut():
    """The loss is that of the second evaluation, and its gradient regards the first as a constant."""
    model, variables = make()
    noise, t, num_own, num_keys = jnp.flip(X, axis=1), jnp.full(4, 0.4), 0, 64
    level = processes.level_at(model.process, jnp.float32(0.4))
    z = model.parametrization.input_scale(level) * (level.alpha * X + level.sigma * noise)

    @jax.jit
    def both(key):
        batch = {"x": X, "noise": noise, "time": t}
        loss = jax.value_and_grad(lambda params: model.loss(params, variables.state, key, batch, jnp.int32(0))[0])
        return loss(variables.params)

    for key in jax.random.split(jax.random.key(4), num_keys):
        uses_own = bool(jax.random.bernoulli(stream_key(key, "estimate")))
        estimate = 0.5 * z * uses_own
        error = 0.5 * z + 0.3 * estimate - X
        loss, gradient = both(key)
        np.testing.assert_allclose(loss, jnp.mean(error**2), rtol=1e-5)
        for name, factor in (("a", z), ("b", estimate)):
            expected = jnp.mean(2 * error * factor)
            np.testing.assert_allclose(gradient["denoiser"][name], expected, rtol=1e-4, atol=1e-6)
        num_own += uses_own
    assert abs(num_own - num_keys / 2) < 4 * np.sqrt(num_keys) / 2


def test_a_network_without_the_channels_of_the_estimate_is_refused():
    model, variables = make()
    del variables

    class Halves(LinearNet):
        def apply(self, variables, x, level, *condition):
            return super().apply(variables, x, level, *condition)[:, :2]

    with pytest.raises(
        ValueError, match=r"net returned shape \(4, 2\), but matching x and its estimate needs \(4, 4\)"
    ):
        dataclasses.replace(model, net=Halves()).init(jax.random.key(5), {"x": X})


def test_targets_of_distillation_need_no_estimate():
    """Teachers and consistency models evaluate the network without one."""
    net = DenoisingMLP((8,))
    teacher = diffusion.Diffusion(shape=(2,), net=net, grid=diffusion.grids.Nested(), self_conditioning=True)
    variables = teacher.init(jax.random.key(6), {"x": X})
    assert isinstance(variables, Variables)
    targets = diffusion.distillation_targets(teacher, variables, jax.random.key(7), {"x": X}, 4)
    assert np.isfinite(targets["x"]).all()
    assert teacher.sample(variables, jax.random.key(8), 3, num_steps=2, sampler="heun").shape == (3, 2)
