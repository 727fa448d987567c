"""Keys derive statelessly, and capabilities are recognized by their methods."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import capabilities, core
from genjax.core import TrainState, Variables, step_key, stream_key

STREAM_TRAIN = (2561911289, 2218184944)
STREAM_TRAIN_STEP_7 = (1163978374, 237895655)


def bits(key):
    return tuple(jax.random.key_data(key).tolist())


class TestKeys:
    def test_a_stream_depends_on_root_and_name_alone(self):
        one, again = (stream_key(jax.random.key(3), "train") for _ in range(2))
        assert bits(one) == bits(again)
        assert bits(one) != bits(stream_key(jax.random.key(4), "train"))

    def test_streams_do_not_change_between_releases(self):
        # Resuming a run and reproducing a published one depend on these numbers.
        assert bits(stream_key(jax.random.key(0), "train")) == STREAM_TRAIN
        assert bits(step_key(stream_key(jax.random.key(0), "train"), 7)) == STREAM_TRAIN_STEP_7

    def test_streams_and_their_steps_are_all_different(self):
        root = jax.random.key(0)
        streams = [stream_key(root, name) for name in ("init", "data", "train", "eval", "sample", "")]
        keys = [bits(step_key(stream, step)) for stream, step in itertools.product(streams, range(50))]
        assert len(set(keys)) == len(keys)

    def test_draws_of_two_streams_are_uncorrelated(self):
        root, n = jax.random.key(0), 4096

        def draws(name):
            return jax.vmap(lambda i: jax.random.normal(step_key(stream_key(root, name), i)))(jnp.arange(n))

        correlation = float(jnp.corrcoef(draws("train"), draws("data"))[0, 1])
        assert abs(correlation) < 4 / n**0.5

    def test_a_traced_step_gives_the_key_of_the_same_plain_step(self):
        stream = stream_key(jax.random.key(0), "train")
        assert bits(jax.jit(step_key)(stream, jnp.int32(5))) == bits(step_key(stream, 5))


class TestTrainState:
    def test_variables_are_the_average_where_there_is_one(self):
        train = TrainState(step=jnp.int32(0), params={"a": 1.0}, state={"s": 2.0}, opt_state={}, ema=None)
        assert train.variables == Variables({"a": 1.0}, {"s": 2.0})
        assert train.replace(ema={"a": 3.0}).variables == Variables({"a": 3.0}, {"s": 2.0})

    def test_its_leaves_are_arrays_alone(self):
        train = TrainState(step=jnp.int32(0), params={"a": jnp.ones(2)}, state={}, opt_state={}, ema=None)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(train))
        np.testing.assert_array_equal(jax.tree.map(lambda a: 2 * a, train).params["a"], 2 * np.ones(2))


METHODS = {
    core.GenerativeModel: {"init", "objectives", "sample"},
    capabilities.HasLogProb: {"log_prob"},
    capabilities.HasLogProbLowerBound: {"log_prob_lower_bound"},
    capabilities.HasLogProbEstimate: {"log_prob_estimate"},
    capabilities.HasLogDensity: {"log_density"},
    capabilities.HasLogPartitionEstimate: {"log_partition_estimate"},
    capabilities.HasEnergy: {"energy", "score", "chains"},
    capabilities.Classifies: {"class_log_prob"},
    capabilities.IsDiscrete: {"discrete"},
    capabilities.Encodes: {"encode"},
    capabilities.Decodes: {"decode"},
    capabilities.HasPosterior: {"posterior"},
    capabilities.HasPrior: {"sample_prior"},
    capabilities.HasLatentVariables: {"sample_prior", "sample_posterior"},
    capabilities.HasStochasticLayers: {"num_layers", "sample_layers"},
    capabilities.Quantizes: {"num_codes"},
    capabilities.HasCodeLikelihood: {"log_likelihood"},
    capabilities.Reconstructs: {"reconstruct"},
    capabilities.HasConditions: {"conditions"},
    capabilities.HasLikelihood: {"likelihood"},
    capabilities.Diagnoses: {"diagnose"},
    capabilities.HasNumValues: {"num_values"},
    capabilities.Stops: {"stop_token"},
    capabilities.Extends: {"extend"},
    capabilities.Imputes: {"impute"},
    capabilities.Translates: {"directions", "translate"},
    capabilities.Lacks: {"lacks"},
    capabilities.SplitsTensors: {"tensor_axis"},
}


def with_members(names):
    return type("Model", (), {name: lambda self: None for name in names})()


class TestCapabilities:
    def test_all_are_listed_here(self):
        assert {
            value
            for value in (vars(core) | vars(capabilities)).values()
            if getattr(value, "_is_runtime_protocol", False)
        } == set(METHODS)

    @pytest.mark.parametrize("protocol", METHODS, ids=lambda protocol: protocol.__name__)
    def test_a_model_has_those_whose_methods_it_has(self, protocol):
        assert isinstance(with_members(METHODS[protocol]), protocol)
        for name in METHODS[protocol]:
            everything_else = set().union(*METHODS.values()) - {name}
            assert not isinstance(with_members(everything_else), protocol)

    def test_a_bound_is_no_density(self):
        bounded = with_members({"log_prob_lower_bound"})
        assert not isinstance(bounded, capabilities.HasLogProb)
        assert not isinstance(bounded, capabilities.HasLogProbEstimate)
