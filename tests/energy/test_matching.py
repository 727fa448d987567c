"""Energy matching in two stages."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import Experiment, data, energy, nets
from genjax.runner import train

RULES = (energy.FlowMatching(), energy.ContrastiveDivergence(num_steps=1, buffer_size=32))


def model_of(rules: tuple[energy.Rule, ...]) -> energy.EnergyModel:
    return energy.EnergyModel(net=nets.MLP((4, 1)), base=energy.Gaussian((2,)), rules=rules, num_steps=2)


def stages_of(model, learning_rate: float):
    optimizers = (optax.adam(1e-2), optax.sgd(learning_rate))
    return energy.energy_matching(model, optimizers=optimizers, steps=(2, 1), ema_decay=0.9)


def test_the_second_stage_starts_where_the_first_ended():
    model = model_of(RULES)
    stages = stages_of(model, learning_rate=0.0)
    x = jax.random.normal(jax.random.key(0), (8, 2))
    first = stages[0].learner({})
    state = first.init(jax.random.key(1), {"x": x})
    state, metrics = first.step(state, jax.random.key(2), {"x": x})
    assert set(metrics) == {"loss", "velocity_error"}
    second = stages[1].learner({stages[0].name: state.variables})
    tuned, metrics = second.step(second.init(jax.random.key(3), {"x": x}), jax.random.key(4), {"x": x})
    assert {"velocity_error", "energy_gap"} <= set(metrics)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), tuned.variables.params, state.variables.params
    )


def test_the_stages_are_an_experiment():
    points = data.synthetic.dataset(data.synthetic.TwoMoons(), jax.random.key(0), num_train=64, num_test=0)
    model = model_of(RULES)
    stages = stages_of(model, learning_rate=0.1)
    run = train(Experiment(model=model, data=points, stages=stages, batch_size=8), progress=False)
    assert run.step == 3
    assert jnp.isfinite(run.sample(jax.random.key(0), 2)).all()


@pytest.mark.parametrize("rules", [RULES[:1], RULES[1:]])
def test_both_kinds_of_rules_are_needed(rules):
    with pytest.raises(ValueError, match="needs FlowMatching and another rule"):
        stages_of(model_of(rules), learning_rate=0.1)
