"""An optimal discriminator between two Gaussians gives the documented divergence."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from genjax import gan

MEAN, NUM = 1.5, 4000
DATA, SAMPLES = norm(), norm(MEAN)
KNOTS = jnp.linspace(-4, 4 + MEAN, 97)
LOSSES = [gan.Minimax(), gan.NonSaturating(), gan.LeastSquares(), gan.Wasserstein(), gan.Hinge()]


def name(loss):
    return type(loss).__name__


def quantiles(distribution):
    """Equally spaced quantiles of a distribution."""
    return jnp.asarray(distribution.ppf((np.arange(NUM) + 0.5) / NUM), jnp.float32)


def integral(function):
    return quad(lambda x: function(DATA.pdf(x), SAMPLES.pdf(x)), -10, 10 + MEAN, limit=200)[0]


def jensen_shannon():
    return integral(lambda p, q: 0.5 * p * np.log(2 * p / (p + q)) + 0.5 * q * np.log(2 * q / (p + q)))


TRUE = {
    "Minimax": jensen_shannon,
    "NonSaturating": jensen_shannon,
    "LeastSquares": lambda: integral(lambda p, q: (p - q) ** 2 / (p + q)),
    "Wasserstein": lambda: MEAN,
    "Hinge": lambda: 0.5 * integral(lambda p, q: abs(p - q)),
}


def outputs(loss, values, x):
    """A piecewise linear discriminator, 1-Lipschitz for the Wasserstein loss."""
    if isinstance(loss, gan.Wasserstein):
        values = jnp.cumsum(jnp.clip(values, -1, 1)) * (KNOTS[1] - KNOTS[0])
    return jnp.interp(x, KNOTS, values)


def train_discriminator(loss, steps=400):
    real, fake = quantiles(DATA), quantiles(SAMPLES)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, steps))

    def value(values):
        return loss.discriminator(outputs(loss, values, real), outputs(loss, values, fake))

    @jax.jit
    def run(values):
        def step(carry, _):
            values, state = carry
            updates, state = optimizer.update(jax.grad(value)(values), state)
            return (optax.apply_updates(values, updates), state), None

        (values, _), _ = jax.lax.scan(step, (values, optimizer.init(values)), None, steps)
        return values, value(values)

    return run(jnp.zeros(len(KNOTS)))


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_an_optimal_discriminator_gives_the_divergence(loss):
    _, minimum = train_discriminator(loss)
    assert float(loss.divergence(minimum)) == pytest.approx(TRUE[name(loss)](), rel=0.02)


BEST = {
    "Minimax": lambda ratio: ratio,
    "NonSaturating": lambda ratio: ratio,
    "LeastSquares": lambda ratio: jnp.tanh(ratio / 2),
    "Hinge": jnp.sign,
}


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if name(loss) in BEST], ids=name)
def test_known_optimal_discriminators(loss):
    """Their loss is the minimum in the table, and perturbed discriminators have a larger loss."""
    real, fake = quantiles(DATA), quantiles(SAMPLES)

    def best(x):
        return BEST[name(loss)](MEAN**2 / 2 - MEAN * x)  # log p(x) / q(x)

    minimum = loss.discriminator(best(real), best(fake))
    assert float(loss.divergence(minimum)) == pytest.approx(TRUE[name(loss)](), rel=2e-3)
    for number in range(5):
        other = 0.3 * jax.random.normal(jax.random.key(number), (len(KNOTS),))
        perturbed = [best(x) + jnp.interp(x, KNOTS, other) for x in (real, fake)]
        assert loss.discriminator(*perturbed) > minimum


@pytest.mark.parametrize("loss", [*LOSSES, gan.RelativisticAverage()], ids=name)
def test_the_divergence_of_equal_distributions_is_zero(loss):
    x = quantiles(DATA)
    assert float(loss.divergence(loss.discriminator(0 * x, 0 * x))) == pytest.approx(0, abs=1e-6)
    gradient = jax.grad(lambda slope: loss.discriminator(slope * x, slope * x))(0.0)
    assert float(gradient) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", [*LOSSES, gan.RelativisticAverage()], ids=name)
def test_the_generator_loss_falls_where_samples_look_more_real(loss):
    real, fake = jnp.full(4, 2.0), jnp.linspace(-3.0, -1.0, 4)
    gradient = jax.grad(loss.generator, argnums=1)(real, fake)
    assert (gradient < 0).all()
    saturated = jax.grad(loss.generator, argnums=1)(real, jnp.full(4, -20.0))
    vanishes = float(jnp.abs(saturated).max()) < 1e-6
    assert vanishes == isinstance(loss, gan.Minimax)


def test_relativistic_average_by_hand():
    real, fake = np.array([1.0, 2.0]), np.array([0.0, -1.0, 2.0])

    def softplus(a):
        return np.log1p(np.exp(a))

    loss = softplus(fake.mean() - real).mean() + softplus(fake - real.mean()).mean()
    relativistic = gan.RelativisticAverage()
    assert float(relativistic.discriminator(jnp.array(real), jnp.array(fake))) == pytest.approx(loss, rel=1e-6)
    other = softplus(real.mean() - fake).mean() + softplus(real - fake.mean()).mean()
    assert float(relativistic.generator(jnp.array(real), jnp.array(fake))) == pytest.approx(other, rel=1e-6)


def test_huge_outputs_stay_finite():
    huge = jnp.array([1e4, -1e4])
    for loss in [*LOSSES, gan.RelativisticAverage()]:
        for network_loss in (loss.discriminator, loss.generator):
            value, gradients = jax.value_and_grad(network_loss, argnums=(0, 1))(huge, -huge)
            assert jnp.isfinite(value) and all(jnp.isfinite(gradient).all() for gradient in gradients)


def test_the_relativistic_loss_sees_pairs_and_is_least_log_2_for_equal_densities():
    loss = gan.Relativistic()
    real, fake = jnp.array([3.0, -1.0]), jnp.array([1.0, 2.0])
    by_hand = np.mean(np.log1p(np.exp(np.asarray(fake - real))))
    assert float(loss.discriminator(real, fake)) == pytest.approx(by_hand, rel=1e-6)
    assert float(loss.generator(fake, real)) == pytest.approx(by_hand, rel=1e-6)
    # For independent draws from one density, constant outputs are optimal.
    x, y = jax.random.normal(jax.random.key(0), (2, 5000))
    assert float(loss.divergence(loss.discriminator(0 * x, 0 * y))) == pytest.approx(0, abs=1e-6)
    for outputs in (jnp.tanh, jnp.square, jnp.sin):
        assert float(loss.divergence(loss.discriminator(outputs(x), outputs(y)))) < 0
