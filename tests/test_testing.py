"""``check_model`` accepts every model of the package, and names what is wrong with others."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from genjax import flow, nets, ops, vae
from genjax.core import Objective, Variables
from genjax.testing import ContractError, check_model

BATCH = {"x": jnp.eye(5)}


@dataclass(frozen=True, kw_only=True)
class Mean:
    """N(μ, I): the simplest model, with one fault."""

    fault: str = ""

    def init(self, key, batch):
        params = {"net": {"mean": 0.1 * jax.random.normal(key, batch["x"].shape[1:])}}
        if self.fault == "dict":
            return params
        if self.fault == "forgotten":
            params["other"] = jnp.zeros(3)
        return Variables(params, {"count": jnp.int32(0)})

    def objectives(self):
        wrt = ("network",) if self.fault == "wrt" else ("net",)
        return (Objective(name="likelihood", wrt=wrt, loss=self.loss),)

    def loss(self, params, state, key, batch, step):
        value = -jnp.mean(self.log_prob(Variables(params, state), batch["x"]))
        if self.fault == "scalar":
            return value
        if self.fault == "metric":
            return value, (state, {"error": batch["x"][:, 0]})
        if self.fault == "state":
            return value, ({}, {})
        if self.fault == "nan":
            return value + jnp.nan, (state, {})
        if self.fault == "gradient":
            return jax.lax.stop_gradient(value), (state, {})
        return value, (state, {})

    def log_prob(self, variables, x):
        log_prob = -0.5 * jnp.sum((x - variables.params["net"]["mean"][None]) ** 2, axis=-1)
        return jnp.mean(log_prob) if self.fault == "log_prob" else log_prob

    def sample(self, variables, key, num_samples):
        key = jax.random.key(0) if self.fault == "key" else key
        noise = jax.random.normal(key, (num_samples + (self.fault == "shape"), 5))
        return noise + variables.params["net"]["mean"][None]


FAULTS = {
    "dict": "init: init of Mean returned a dict, but must return genjax.Variables",
    "forgotten": "no objective has 'other' in wrt, so that it is never trained",
    "wrt": "'likelihood' has 'network' in wrt, but the params are ['net']",
    "scalar": "but must return a scalar, the new state and metrics",
    "metric": "metric 'error' of the loss of 'likelihood' has shape (5,); average it",
    "state": "returned a state of {}, but must keep its shapes",
    "nan": "values that are not finite",
    "gradient": "gives no gradient to net/mean",
    "log_prob": "log_prob has shape (), but must have (5,), nats per example",
    "key": "sample returns the same samples for another key; use the key",
    "shape": "3 samples have shape (4, 5), but data have (5, 5)",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault):
    with pytest.raises(ContractError) as error:
        check_model(Mean(fault=fault), BATCH)
    assert FAULTS[fault] in str(error.value)


def test_a_model_that_is_not_frozen_or_lacks_a_function_is_named():
    thawed = dataclasses.make_dataclass("Thawed", [("width", Any)], bases=())(3)
    with pytest.raises(ContractError) as error:
        check_model(thawed, BATCH)
    assert str(error.value).splitlines() == [
        "value: Thawed has no init; a model has init, objectives and sample",
        "value: Thawed is not frozen; decorate its class with @dataclass(frozen=True, kw_only=True)",
    ]


@pytest.mark.parametrize(
    "model",
    [
        Mean(),
        flow.real_nvp(shape=(5,), num_layers=2, hidden=(4,)),
        vae.VAE(
            latent_dim=2, encoder=nets.MLP((4,)), decoder=nets.MLP((5,)), likelihood=ops.Bernoulli(), num_classes=2
        ),
    ],
)
def test_models_that_keep_the_contract_pass(model):
    check_model(model, BATCH | {"label": jnp.array([0, 1, 0, 1, 0])})
