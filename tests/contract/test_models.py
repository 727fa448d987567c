"""Every model of the registry keeps the contract of ``genjax.core``."""

from __future__ import annotations

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from chex import assert_trees_all_close, assert_trees_all_equal
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from genjax import capabilities, latent
from genjax.capabilities import likelihoods
from genjax.core import GenerativeModel
from genjax.evaluation import samples
from genjax.evaluation.imputation import first_half
from genjax.ops import fill_after_stop, leaves_by_path
from tests.contract.batches import NUM_EXAMPLES
from tests.contract.case import Case
from tests.contract.registry import OWN_METHODS
from tests.contract.training import EMA_DECAY, NUM_STEPS, Run, label_option, restored, saved, stacked

PROTOCOLS = [value for value in vars(capabilities).values() if getattr(value, "_is_runtime_protocol", False)]
LEARNED = {"variables", "params", "state"}


def close(actual, expected, tolerance: float = 1e-5):
    assert_trees_all_close(actual, expected, rtol=tolerance, atol=tolerance)


def as_numpy(value):
    """Return a setting with scalars of NumPy for all numbers in it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return rebuilt(value)
    if type(value) is tuple:
        return tuple(map(as_numpy, value))
    kinds = {bool: np.bool_, int: np.int64, float: np.float64}
    return kinds[type(value)](value) if type(value) in kinds else value


def rebuilt(value):
    """Return a copy of a dataclass that is built with scalars of NumPy."""
    names = [field.name for field in dataclasses.fields(value) if field.init and field.name not in ("parent", "name")]
    return type(value)(**{name: as_numpy(getattr(value, name)) for name in names})


class TestValue:
    """A model is a value: its fields are its whole configuration."""

    def test_is_a_final_frozen_keyword_only_dataclass(self, case: Case):
        model = case.model()
        assert dataclasses.is_dataclass(model)
        assert getattr(type(model), "__final__", False), "mark the class with @typing.final"
        assert all(field.kw_only for field in dataclasses.fields(model))
        for field in dataclasses.fields(model):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(model, field.name, getattr(model, field.name))

    def test_compares_hashes_and_prints_by_value(self, case: Case):
        one, two = case.model(), case.model()
        assert one is not two
        assert one == two
        assert hash(one) == hash(two)
        assert repr(one) == repr(two)
        assert all(f"{field.name}=" in repr(one) for field in dataclasses.fields(one))

    def test_replace_goes_there_and_back(self, case: Case):
        model = case.model()
        for field in dataclasses.fields(model):
            there = dataclasses.replace(model, **{field.name: getattr(model, field.name)})
            assert there == model
            assert hash(there) == hash(model)

    def test_scalars_of_numpy_in_its_fields_become_numbers(self, case: Case):
        model = case.model()
        assert repr(rebuilt(model)) == repr(model)

    def test_equal_models_are_one_static_argument_of_jit(self, run: Run):
        for _ in range(2):
            run.draw(run.case.model(), run.learned, run.key(0), 5)
        assert run.num_draw_traces == 1


class TestSignatures:
    """Arguments are variables, then the key, then data."""

    def test_has_the_three_functions(self, case: Case):
        assert isinstance(case.model(), GenerativeModel)

    def test_declares_what_is_public(self, case: Case):
        """Public are fields, losses, what a Protocol knows, and what the family's file of cases lists."""
        model = case.model()
        kind = type(model)
        declared = {field.name for field in dataclasses.fields(model)} | set(OWN_METHODS.get(kind.__name__, ()))
        for protocol in (*PROTOCOLS, GenerativeModel):
            declared |= {name for name in vars(protocol) if not name.startswith("_")}
        public = {name for name in vars(kind) if not name.startswith("_") and not name.endswith("loss")}
        assert public <= declared, f"declare {public - declared} in genjax.capabilities, or in OWN_METHODS"

    def test_declares_its_classes(self, case: Case):
        model = case.model()
        assert capabilities.num_classes(model) == getattr(model, "num_classes", None)

    def test_capabilities_have_the_signatures_of_their_protocols(self, case: Case):
        model = case.model()
        for protocol in PROTOCOLS:
            for name, expected in inspect.getmembers(protocol, inspect.isfunction):
                if name.startswith("_") or not isinstance(model, protocol):
                    continue
                promised = list(inspect.signature(expected).parameters)[1:]  # without self
                actual = list(inspect.signature(getattr(model, name)).parameters.values())
                assert [p.name for p in actual[: len(promised)]] == promised, name
                for option in actual[len(promised) :]:
                    optional = option.default is not option.empty
                    keyword = option.kind in (option.KEYWORD_ONLY, option.VAR_KEYWORD)
                    assert optional or keyword, (name, option.name)

    def test_keys_follow_what_is_learned_and_have_no_default(self, case: Case):
        model = case.model()
        for name, method in inspect.getmembers(model, inspect.ismethod):
            parameters = inspect.signature(method).parameters
            if name.startswith("_") or "key" not in parameters:
                continue
            before = list(parameters)[: list(parameters).index("key")]
            assert set(before) <= LEARNED, f"{name} takes {before} before its key"
            assert parameters["key"].default is inspect.Parameter.empty, f"{name} has a default key"

    def test_objectives_are_named_apart_and_their_losses_are_called_alike(self, case: Case):
        objectives = case.model().objectives()
        assert len({objective.name for objective in objectives}) == len(objectives) > 0
        for objective in objectives:
            assert list(inspect.signature(objective.loss).parameters) == ["params", "state", "key", "batch", "step"]

    def test_a_lone_objective_is_the_public_loss(self, case: Case):
        model = case.model()
        objectives = model.objectives()
        assert hasattr(model, "loss") == (len(objectives) == 1)
        if len(objectives) == 1:
            assert objectives[0].loss == model.loss


class TestStep:
    """The learner's step is one pure function, however it is run."""

    def test_five_donated_steps_trace_once(self, run: Run):
        assert run.num_traces_of_five == 1
        assert all(run.donated), "the old state was copied, not reused"

    def test_compiled_losses_equal_eager_ones(self, run: Run):
        train = restored(run.states[2])
        for objective in run.model.objectives():
            loss, (state, metrics) = objective.loss(train.params, train.state, run.key(2), run.minibatch, train.step)
            _, after, compiled = run.probes[objective.name](run.states[2].params, run.minibatch)
            close(saved({"loss": loss} | metrics), compiled)
            close(saved(state), after.state)

    @pytest.mark.slow  # a gradient is thousands of single operations, each of them compiled
    def test_a_compiled_step_equals_an_eager_one(self, run: Run):
        train, metrics = run.learner.step(restored(run.states[2]), run.key(2), run.batches[2])
        close(saved(train), run.states[3])
        close(saved(metrics), run.metrics[2])

    def test_vmap_over_seeds_equals_lone_runs(self, run: Run):
        first, second = (at(states, 1) for states, _ in run.replicas)
        close(first, run.states[2])
        close(second, run.lone(run.other_root, num_steps=2))

    def test_scan_over_steps_equals_the_loop(self, run: Run):
        states, metrics = run.replicas[0]
        close(at(states, -1), run.states[NUM_STEPS])
        close(metrics, jax.tree.map(lambda *values: np.stack(values), *run.metrics))

    def test_scan_over_steps_reuses_no_key(self, run: Run):
        scan = jax.jit(run.scan)  # which checks keys where it traces
        scan.trace(jax.random.key_data(run.root), restored(run.states[0]), stacked(run.batches))

    def test_two_devices_equal_one(self, run: Run):
        if jax.device_count() < 2:
            pytest.skip("needs two devices: XLA_FLAGS=--xla_force_host_platform_device_count=2")
        mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
        whole = NamedSharding(mesh, PartitionSpec())
        split = NamedSharding(mesh, PartitionSpec(*[None] * (run.learner.minibatches > 1), "data"))
        step = jax.jit(run.step, in_shardings=(whole, whole, split), out_shardings=whole)
        train = jax.device_put(restored(run.states[2]), whole)
        for i in (2, 3):
            batch = jax.device_put(run.batches[i], split)
            assert all(leaf.addressable_shards[0].data.size * 2 == leaf.size for leaf in jax.tree.leaves(batch))
            train, _ = step(train, jax.device_put(run.key(i), whole), batch)
        for path, actual in leaves_by_path(saved(train)).items():
            expected = leaves_by_path(run.states[4])[path]
            # The order of a sum over examples rounds at the size of its terms, that of the largest entry.
            scale = max(1.0, np.abs(expected).max(initial=0.0))
            np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6 * scale, err_msg=path)

    def test_resuming_from_a_checkpoint_is_bit_exact(self, run: Run, tmp_path):
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / "state", restored(run.states[2]))
            checkpointer.wait_until_finished()
            abstract = jax.eval_shape(run.learner.init, run.key(0), run.minibatch)
            device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
            abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), abstract)
            train = saved(checkpointer.restore(tmp_path / "state", abstract))
        assert_trees_all_equal(train, run.states[2])
        # Restored arrays are committed to their device, for which the step would be compiled once more.
        assert_trees_all_equal(saved(run.follow(restored(train), 2, 4)), run.states[4])

    def test_the_average_follows_its_recursion(self, run: Run):
        average = jax.tree.map(np.float64, run.states[0].params)
        for step in range(NUM_STEPS):
            decay = min(EMA_DECAY, (1 + step) / (10 + step))
            average = jax.tree.map(
                lambda a, p: decay * a + (1 - decay) * np.float64(p),  # noqa: B023
                average,
                run.states[step + 1].params,
            )
            assert run.states[step + 1].step == step + 1
        assert_trees_all_close(jax.tree.map(np.float64, run.states[NUM_STEPS].ema), average, rtol=1e-6, atol=1e-7)

    def test_dtypes_stay(self, run: Run):
        for before, after in zip(jax.tree.leaves(run.states[0]), jax.tree.leaves(run.states[-1]), strict=True):
            assert before.dtype == after.dtype
        assert all(leaf.dtype != np.float64 for leaf in jax.tree.leaves(run.states[-1]))

    def test_all_randomness_comes_from_the_key(self, run: Run):
        programs = (
            run.init.trace(run.key(0), run.minibatch),
            run.step.trace(restored(run.states[0]), run.key(0), run.batches[0]),
            run.draw.trace(run.model, run.learned, run.key(0), 5),
        )
        for program in programs:
            assert "random_seed" not in str(program.jaxpr), "a key is made from a seed inside"


class TestObjectives:
    """Each objective changes what it declares and nothing else."""

    def test_losses_are_float32_scalars(self, run: Run):
        for metrics in run.metrics:
            assert all(value.shape == () for value in metrics.values())
            losses = [value for name, value in metrics.items() if name.split("/")[-1] == "loss"]
            assert len(losses) == len(run.model.objectives())
            assert all(loss.dtype == np.float32 for loss in losses)

    def test_every_parameter_of_wrt_gets_gradient_and_no_other_moves(self, run: Run):
        for objective in run.model.objectives():
            before, after, _ = run.probes[objective.name](run.states[2].params, run.minibatch)
            gradients = optax.tree.get(after.opt_state, "trace")
            assert sorted(gradients) == sorted(objective.wrt)
            for part in gradients:
                sizes = {jax.tree_util.keystr(path): np.abs(g).max() for path, g in leaves(gradients[part])}
                # A gradient as small as rounding errors counts as zero, such as that of a bias before a normalization.
                silent = [name for name, size in sizes.items() if not size > 1e-5 * max(sizes.values())]
                assert not silent, f"{objective.name} gives no gradient to {part}{silent}"
            for part in before.params:
                same = [
                    np.array_equal(a, b)
                    for (_, a), (_, b) in zip(leaves(before.params[part]), leaves(after.params[part]), strict=True)
                ]
                assert not any(same) if part in objective.wrt else all(same), f"{objective.name}: {part}"

    def test_every_part_is_learned_by_some_objective(self, run: Run):
        learned = {part for objective in run.model.objectives() for part in objective.wrt}
        assert learned == set(run.states[0].params)

    def test_state_moves_where_promised_and_nowhere_else(self, run: Run):
        assert set(run.case.moves) <= {objective.name for objective in run.model.objectives()}
        for objective in run.model.objectives():
            before, after, _ = run.probes[objective.name](run.states[2].params, run.minibatch)
            if not jax.tree.leaves(before.state):
                continue
            old, new = entries(before.state), entries(after.state)
            changes = {
                entry
                for entry in old
                if any(
                    not np.array_equal(a, b)
                    for (_, a), (_, b) in zip(leaves(old[entry]), leaves(new[entry]), strict=True)
                )
            }
            assert changes == set(run.case.moves.get(objective.name, ())), objective.name

    def test_extreme_data_and_parameters_stay_finite(self, run: Run):
        params = run.states[2].params
        scaled = jax.tree.map(lambda p: run.case.scale * p, params)
        for objective in run.model.objectives():
            for x in run.case.extremes:
                batch = dict(run.minibatch) | {"x": jnp.full_like(run.minibatch["x"], x)}
                for where, start in (("learned", params), (f"{run.case.scale} times the learned", scaled)):
                    _, after, metrics = run.probes[objective.name](start, batch)
                    bad = [
                        jax.tree_util.keystr(path)
                        for path, leaf in leaves((after, metrics))
                        if not np.isfinite(leaf).all()
                    ]
                    assert not bad, f"{objective.name} at x = {x} and {where} parameters: {bad} not finite"


class TestSample:
    """Samples are a pure function of the variables and the key."""

    def test_same_key_same_sample_other_key_other_sample(self, run: Run):
        one, again, other = (np.asarray(run.draw(run.model, run.learned, run.key(i), 5)) for i in (0, 0, 1))
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)

    @pytest.mark.slow
    def test_a_batch_size_changes_no_sample(self, run: Run, monkeypatch):
        monkeypatch.setattr(samples, "BLOCK_SIZE", 2)
        label = {name: np.asarray(value) for name, value in label_option(run.model, 4).items()}
        whole, parts = (
            samples.draw_samples(run.model, run.learned, run.key(0), 4, batch_size=size, **label) for size in (4, 2)
        )
        close(whole, parts, tolerance=1e-4)

    def test_samples_look_like_data(self, run: Run):
        x = run.draw(run.model, run.learned, run.key(0), 5)
        assert x.shape == (5, *run.minibatch["x"].shape[1:])
        assert x.dtype == run.minibatch["x"].dtype
        assert np.isfinite(np.asarray(x)).all()


class TestCapabilities:
    """A model has the capabilities that it declares; others are not tested."""

    def test_log_probabilities_are_nats_per_example(self, run: Run):
        values = run.log_probs(run.learned, run.key(0), run.minibatch["x"])
        assert set(values) == set(likelihoods(run.model))
        for method, value in values.items():
            assert (value.shape, value.dtype) == ((NUM_EXAMPLES,), jnp.float32), method
            assert np.isfinite(np.asarray(value)).all(), method

    def test_exact_log_probabilities_depend_on_their_own_example_alone(self, run: Run):
        if capabilities.supports(run.model, capabilities.HasLogProb) and not label_option(run.model, 1):
            x = run.minibatch["x"]
            forwards, backwards = (run.log_probs(run.learned, run.key(0), each)["log_prob"] for each in (x, x[::-1]))
            close(backwards, forwards[::-1])

    def test_reconstructions_look_like_data(self, run: Run):
        if isinstance(run.model, capabilities.Reconstructs):
            x, label = run.minibatch["x"], label_option(run.model, NUM_EXAMPLES)
            again = jax.jit(run.model.reconstruct)(run.learned, run.key(0), x, **label)
            assert (again.shape, again.dtype) == (x.shape, x.dtype)

    def test_imputations_repeat_what_is_known(self, run: Run):
        if capabilities.supports(run.model, capabilities.Imputes):
            x = fill_after_stop(run.minibatch["x"], capabilities.stop_token(run.model))
            label = label_option(run.model, NUM_EXAMPLES)
            mask = first_half(x.shape[1:])[None]
            impute = jax.jit(lambda variables, key, x: run.model.impute(variables, key, x, mask, **label))
            once, again = (impute(run.learned, run.key(0), y) for y in (x, jnp.where(mask, x, x[::-1])))
            assert once.shape == x.shape
            np.testing.assert_array_equal(jnp.where(mask, once - x, 0), 0)
            assert not np.array_equal(once, x)
            assert np.isfinite(np.asarray(once)).all()
            np.testing.assert_array_equal(once, again)  # whatever stands in place of unknown values

    def test_imputation_refuses_other_shapes(self, run: Run):
        if capabilities.supports(run.model, capabilities.Imputes):
            x, label = run.minibatch["x"], label_option(run.model, NUM_EXAMPLES)
            larger, mask = jnp.concatenate([x, x], axis=1), np.ones((1,) * x.ndim, bool)
            with pytest.raises(ValueError, match=r"x has shape .* shape="):
                jax.eval_shape(lambda x: run.model.impute(run.learned, run.key(0), x, mask, **label), larger)

    def test_interpolations_go_both_ways(self, run: Run):
        continuous = not isinstance(run.model, capabilities.Quantizes)
        if isinstance(run.model, capabilities.Encodes) and isinstance(run.model, capabilities.Decodes) and continuous:
            x, label = run.minibatch["x"], {name: value[0] for name, value in label_option(run.model, 1).items()}
            walk = jax.jit(lambda variables, x, y: latent.interpolate(run.model, variables, x, y, 5, **label))
            there, back = walk(run.learned, x, x[::-1]), walk(run.learned, x[::-1], x)
            assert there.shape == (x.shape[0], 5, *x.shape[1:])
            close(there, back[:, ::-1])
            if jnp.issubdtype(there.dtype, jnp.floating):  # the most probable values may be those of all codes
                assert not np.allclose(there[:, 0], there[:, -1])


def at(tree, index: int):
    """Return one entry of the leading axis."""
    return jax.tree.map(lambda a: a[index], tree)


def leaves(tree):
    return jax.tree_util.tree_leaves_with_path(tree)


def entries(state):
    """Return the entries of a state by name, whether it is a dict or a NamedTuple."""
    return state._asdict() if hasattr(state, "_asdict") else state
