"""Speed of an RBM: training against scikit-learn, Gibbs sampling and annealing against matrix products.

    python experiments/benchmarks/rbm.py [--json]

784 visible and 500 hidden binary units. Training: persistent contrastive divergence with one Gibbs step, batches and
chains of 100, plain gradient descent: the arithmetic of scikit-learn's ``BernoulliRBM.partial_fit``, on 4,000 rows, in
turns. genjax runs its steps as one ``lax.scan`` in a compiled function. Rates: Gibbs sampling of 1,000 chains and
annealed importance sampling with 1,000 particles, in floating-point operations of their matrix products alone, against
the rate of a matrix product of the same shapes.
"""

from __future__ import annotations

import functools
import importlib.util
import os

if len(getattr(os, "sched_getaffinity", lambda _: ())(0)) > 2:  # before jax starts its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import Row, arguments, interleaved, milliseconds, print_rows, ratio, steps_of, timed

from genjax import boltzmann, gradient_learner
from genjax.boltzmann import bipartite

VISIBLE, HIDDEN, BATCH, STEPS, LEARNING_RATE = 784, 500, 100, 40, 0.01
CHAINS, SWEEPS = 1_000, 20

MODEL = boltzmann.RBM(shape=(VISIBLE,), num_hidden=HIDDEN, negative_phase=boltzmann.Persistent(BATCH), centred=False)


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=5)
    data = (np.random.default_rng(0).random((STEPS, BATCH, VISIBLE)) < 0.2).astype(np.float32)
    variables = jax.jit(MODEL.init)(jax.random.key(0), {"x": jnp.asarray(data[0])})
    params, wait = MODEL.rbm_params(variables), jax.block_until_ready
    v = jnp.tile(jnp.asarray(data[0]), (CHAINS // BATCH, 1))
    gibbs = jax.jit(functools.partial(bipartite.gibbs_chain, num_steps=SWEEPS))
    annealing = jax.jit(
        functools.partial(boltzmann.annealed_importance_sampling, num_particles=CHAINS, num_temperatures=SWEEPS)
    )

    @jax.jit
    def products(v: jax.Array, weights: jax.Array) -> jax.Array:
        """Compute the matrix products of ``SWEEPS`` Gibbs steps, and nothing else."""
        return jax.lax.scan(lambda v, _: ((v @ weights) @ weights.T, None), v, length=SWEEPS)[0]

    base_bias, rbm = variables.state.base_bias, bipartite.at_unit_temperature(params)
    contestants = {
        "training": steps_of(gradient_learner(MODEL, optax.sgd(LEARNING_RATE)), data),
        "sweeps": timed(lambda: wait(gibbs(rbm, jax.random.key(1), v)), 1 / SWEEPS),
        "annealing": timed(lambda: wait(annealing(params, base_bias, jax.random.key(1))), 1 / SWEEPS),
        "products": timed(lambda: wait(products(v, params.weights)), 1 / SWEEPS),
    }
    rival = importlib.util.find_spec("sklearn") is not None
    if rival:
        from sklearn.neural_network import BernoulliRBM

        rival_rbm = BernoulliRBM(HIDDEN, learning_rate=LEARNING_RATE, batch_size=BATCH, random_state=0)
        contestants["scikit-learn"] = timed(lambda: [rival_rbm.partial_fit(x) for x in data], 1 / STEPS)
    seconds = interleaved(contestants, repeats=options.repeats)
    rows = []
    if rival:
        times = f"scikit-learn, {milliseconds(seconds['scikit-learn'])}; {milliseconds(seconds['training'])}"
        rows.append(
            Row(
                "PCD steps per second: genjax / scikit-learn",
                ratio(seconds, "scikit-learn", "training"),
                ">= 2.5",
                times,
            )
        )
    operations = 4 * CHAINS * VISIBLE * HIDDEN / 1e9
    for name in ("sweeps", "annealing"):
        rates = ", ".join(f"{operations / min(seconds[each]):.0f} GFLOP/s" for each in ("products", name))
        row = Row(
            f"rate of {name} with {CHAINS:,} chains / of products", ratio(seconds, "products", name), ">= 0.4", rates
        )
        rows.append(row)
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
