"""Likelihoods of RBMs: genjax against scikit-learn on digits, and annealed importance sampling against enumeration.

    python experiments/benchmarks/boltzmann_likelihood.py [--json] [--repeats SEEDS] [--hidden 20 100]

Digits: ``data.digits`` with its splits; a pixel is 1 if its grey level is at least 8 of 16. All models train on the
same 1,250 rows in the same order, for 100 epochs of minibatches of 10, by persistent contrastive divergence with one
Gibbs step of 10 chains, as in scikit-learn's ``BernoulliRBM.fit``. (It gives chains more weight than data in an
incomplete last minibatch, hence not 1,257 rows.) The learning rate of each model is the best of a grid by the mean
log-likelihood of the validation split over the seeds; the mean log-likelihood of the test split is reported, mean ± sd
over the seeds. One function scores all models: exactly for 20 hidden units, otherwise by annealed importance sampling
with 200 particles over 1,000 temperatures. The models of genjax are centred, and the plain ones are not; these match
the arithmetic of scikit-learn except for the initialization. The learning rate is constant, as in scikit-learn, or
decays linearly to zero, as in ``experiments``, which ``fit`` does not support: the plain model with decay shows what a
loop of ``partial_fit`` could gain.

Annealing: 100 runs with independent keys on the model with 20 hidden units, first seed and decaying learning rate; how
often the 99 % interval contains the exact log Z.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import Row, arguments, interleaved, milliseconds, print_rows, ratio, timed
from sklearn.neural_network import BernoulliRBM

from genjax import boltzmann, gradient_learner
from genjax.boltzmann.bipartite import at_unit_temperature, gibbs_chain, log_unnormalized_visible
from genjax.core import Variables
from genjax.data import digits

SHAPE, THRESHOLD, TRAIN = (64,), 8, 1_250
BATCH, EPOCHS = 10, 100
STEPS = EPOCHS * TRAIN // BATCH
RATES = (0.3, 0.1, 0.03, 0.01, 0.003)
EXACTLY = 20  # largest number of hidden units scored by enumeration
SCORING, ANNEALING = (200, 1_000), (500, 1_000)  # particles and temperatures
ANNEALED = 100  # runs
UNITS = boltzmann.BinaryUnits()
GENJAX, FALLING = "genjax", "genjax, falling"
RECIPES = {  # whether centred, and the final learning rate relative to the initial one
    GENJAX: (True, 1.0),
    FALLING: (True, 0.0),
    "genjax, plain": (False, 1.0),
    "genjax, plain, falling": (False, 0.0),
}


def split(name: str) -> jax.Array:
    """Return the binary rows of a split."""
    source = digits().splits[name]
    x = source.take(np.arange(len(source)))["x"].reshape(-1, *SHAPE)
    return jnp.asarray(x >= THRESHOLD, jnp.float32)


def of_genjax(x: jax.Array, num_hidden: int, recipe: str) -> Callable[[jax.Array, jax.Array], boltzmann.RBMParams]:
    """Return a function that trains an RBM, given a seed and a learning rate."""
    centred, last = RECIPES[recipe]
    model = boltzmann.RBM(
        shape=SHAPE, num_hidden=num_hidden, negative_phase=boltzmann.Persistent(BATCH), centred=centred
    )
    batches = x.reshape(-1, BATCH, *SHAPE)

    def train(seed: jax.Array, rate: jax.Array) -> boltzmann.RBMParams:
        init_key, train_key = jax.random.split(jax.random.key(seed))
        optimizer = optax.sgd(lambda count: rate * (1 - (1 - last) * count / STEPS))
        learner = gradient_learner(model, optimizer)

        def step(state, number):
            batch = {"x": batches[number % len(batches)]}
            return learner.step(state, jax.random.fold_in(train_key, number), batch)[0], None

        state = learner.init(init_key, {"x": batches[0]})
        state, _ = jax.lax.scan(step, state, jnp.arange(STEPS))
        return model.rbm_params(Variables(state.params, state.state))

    return train


def of_rival(x: np.ndarray, num_hidden: int, seed: int, rate: float) -> boltzmann.RBMParams:
    """Train scikit-learn's RBM."""
    rbm = BernoulliRBM(num_hidden, learning_rate=rate, batch_size=BATCH, n_iter=EPOCHS, random_state=seed).fit(x)
    return boltzmann.RBMParams(
        weights=jnp.asarray(rbm.components_.T),
        visible_bias=jnp.asarray(rbm.intercept_visible_),
        hidden_bias=jnp.asarray(rbm.intercept_hidden_),
    )


def annealed(
    params: boltzmann.RBMParams, base: jax.Array, key: jax.Array, counts: tuple[int, int], **options: Any
) -> boltzmann.LogPartition:
    """Run annealed importance sampling with ``counts`` particles and temperatures."""
    return boltzmann.annealed_importance_sampling(
        params, base, key, num_particles=counts[0], num_temperatures=counts[1], **options
    )


def log_partition(params: boltzmann.RBMParams, base: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return log Z and the half-width of its interval."""
    if params.weights.shape[1] <= EXACTLY:
        return boltzmann.log_partition(params), jnp.zeros(())
    log_z = annealed(params, base, jax.random.key(0), SCORING)
    return log_z.value, (log_z.high - log_z.low) / 2


def log_partition_backwards(params: boltzmann.RBMParams, base: jax.Array, x: jax.Array) -> jax.Array:
    """Return the backward estimate of log Z, with particles started from rows."""
    v = gibbs_chain(at_unit_temperature(params), jax.random.key(1), x[: SCORING[0]], 1_000)
    return annealed(params, base, jax.random.key(2), SCORING, backwards_from=v).value


class Result(NamedTuple):
    """Result for the best learning rate.

    Attributes:
      rate: learning rate.
      machines: model of each seed.
      test: test log-likelihood of each seed.
      half: half-width of the widest interval.
    """

    rate: float
    machines: Sequence[boltzmann.RBMParams]
    test: np.ndarray
    half: float

    def __str__(self) -> str:
        return f"{self.test.mean():.3f} ± {self.test.std(ddof=1):.3f} (rate {self.rate})"


def best(grid: Sequence[Sequence[boltzmann.RBMParams]], base: jax.Array) -> Result:
    """Choose the learning rate on the validation split, and score its models on the test split."""
    validation, test, estimate, score = split("validation"), split("test"), jax.jit(log_partition), jax.jit(log_masses)
    scores, halves = np.zeros((2, len(grid), len(grid[0]))), np.zeros((len(grid), len(grid[0])))
    for place in np.ndindex(*halves.shape):
        params = grid[place[0]][place[1]]
        log_z, halves[place] = estimate(params, base)
        scores[(slice(None), *place)] = [score(params, x) - log_z for x in (validation, test)]
    chosen = int(scores[0].mean(axis=1).argmax())
    return Result(RATES[chosen], grid[chosen], scores[1, chosen], halves[chosen].max())


def log_masses(params: boltzmann.RBMParams, x: jax.Array) -> jax.Array:
    """Return the mean unnormalized log-mass of rows."""
    return jnp.mean(log_unnormalized_visible(at_unit_temperature(params), x))


def compare(num_hidden: int, seeds: int) -> tuple[list[Row], boltzmann.RBMParams]:
    """Train, choose the learning rates and score; also return the model for the annealing benchmark."""
    x = split("train")[:TRAIN]
    base, rows_of_rival = UNITS.fit_bias(x), np.asarray(x)
    rival = best([[of_rival(rows_of_rival, num_hidden, seed, rate) for seed in range(seeds)] for rate in RATES], base)
    results, trainers = {}, {recipe: of_genjax(x, num_hidden, recipe) for recipe in RECIPES}
    for recipe, train in trainers.items():
        every = jax.jit(jax.vmap(jax.vmap(train, (0, None)), (None, 0)))(jnp.arange(seeds), jnp.array(RATES))
        at = lambda i, seed, every=every: jax.tree.map(lambda a: a[i, seed], every)  # noqa: E731
        results[recipe] = best([[at(i, seed) for seed in range(seeds)] for i in range(len(RATES))], base)
    how = "exact"
    if num_hidden > EXACTLY:
        scored, other = (rival, *results.values()), jax.jit(log_partition_backwards)
        apart = [log_partition(r.machines[0], base)[0] - other(r.machines[0], base, x) for r in scored]
        how = f"intervals at most ± {max(r.half for r in scored):.2f}, ends at most {max(map(abs, apart)):.2f} apart"
    rows = [
        Row(
            f"{num_hidden} hidden, nats: {recipe} - scikit-learn",
            float(result.test.mean() - rival.test.mean()),
            "> 0" if RECIPES[recipe][0] else "-",
            f"{rival}; {result}; {how}",
        )
        for recipe, result in results.items()
    ]
    run, rate = jax.jit(trainers[GENJAX]), results[GENJAX].rate
    contestants = {
        "rival": timed(lambda: of_rival(rows_of_rival, num_hidden, 0, rival.rate), 1 / STEPS),
        "genjax": timed(lambda: jax.block_until_ready(run(0, rate)), 1 / STEPS),
    }
    seconds = interleaved(contestants, repeats=3)
    times = f"{milliseconds(seconds['rival'])}; {milliseconds(seconds['genjax'])}, {STEPS:,} steps without compilation"
    label = f"{num_hidden} hidden, steps per second: genjax / scikit-learn"
    return [*rows, Row(label, ratio(seconds, "rival", "genjax"), "-", times)], results[FALLING].machines[0]


def anneal(params: boltzmann.RBMParams) -> list[Row]:
    """Measure how often intervals contain log Z."""
    base, exact = UNITS.fit_bias(split("train")), float(boltzmann.log_partition(params))
    run = jax.jit(
        lambda keys: jax.lax.map(
            lambda key: annealed(params, base, key, ANNEALING)._replace(particles=jnp.zeros(())), keys
        )
    )
    estimates = run(jax.random.split(jax.random.key(1), ANNEALED))
    low, high, values = (np.asarray(a, np.float64) for a in (estimates.low, estimates.high, estimates.value))
    inside, widths = (low <= exact) & (exact <= high), high - low
    errors = f"exact {exact:.3f}; errors {np.mean(values - exact):+.4f} ± {np.std(values, ddof=1):.4f} nats"
    count, temperatures = ANNEALING
    sizes = estimates.effective_sample_size
    effective = f"{np.min(sizes):.0f} to {np.max(sizes):.0f} effective"
    how = f"{count} particles, {effective}, {temperatures:,} temperatures"
    return [
        Row(f"fraction of {ANNEALED} 99 % intervals that contain log Z", float(inside.mean()), ">= 0.98", errors),
        Row("interval width: mean, nats", float(widths.mean()), "<= 0.2", how),
        Row("interval width: largest, nats", float(widths.max()), "<= 0.2", how),
    ]


def main() -> None:
    """Run the benchmark and print its rows."""
    hidden = {"nargs": "+", "type": int, "default": [20, 100], "help": "numbers of hidden units"}
    options = arguments(__doc__ or "", repeats=5, hidden=hidden)
    for num_hidden in options.hidden:
        rows, params = compare(num_hidden, options.repeats)
        if num_hidden <= EXACTLY:
            rows += anneal(params)
        print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
