"""Networks compute in the dtype of the program, whose parameters, state and outputs stay float32."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genjax import autoregressive, nets
from genjax.nets import apply_net, computing, init_net
from genjax.roofline import count_flops
from tests.networks import Function


class Normalized(nn.Module):
    """A network without a field ``dtype``."""

    @nn.compact
    def __call__(self, x, train):
        return nn.BatchNorm(use_running_average=not train, momentum=0.75)(nn.Dense(3)(x))


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(0), (16, 5)) * 2.0 + 3.0


def rounded(a):
    return np.asarray(a.astype(jnp.bfloat16).astype(jnp.float32))


NNX = nets.from_nnx(lambda rngs: nnx.Linear(5, 2, use_bias=False, rngs=rngs))


@pytest.mark.parametrize("net", [nn.Dense(2, use_bias=False), NNX], ids=["with dtype", "without dtype"])
def test_inputs_products_and_outputs_are_rounded_to_bfloat16(net, x):
    params, state = init_net(net, jax.random.key(1), x)
    with computing(dtype="bfloat16"):
        outputs, _ = apply_net(net, params, state, x)
    assert outputs.dtype == jnp.float32
    exact = rounded(x) @ rounded(params["kernel"])
    np.testing.assert_allclose(outputs, exact, rtol=2**-8)  # half a unit in the last of eight places
    np.testing.assert_array_equal(outputs, rounded(outputs))
    assert np.abs(outputs - x @ params["kernel"]).max() > 1e-4


def test_a_network_of_another_library_gets_real_arrays_in_bfloat16_alone(x):
    received = []
    net = Function(lambda params, *args: received.extend([params["w"], *args]) or x, {"w": jnp.ones(3)})
    key = jax.random.key(2)
    with computing(dtype="bfloat16"):
        apply_net(net, net.params, {}, x, jnp.arange(3), jnp.ones(2, bool), None, key)
    assert [getattr(each, "dtype", None) for each in received] == [
        "bfloat16",
        "bfloat16",
        "int32",
        "bool",
        None,
        key.dtype,
    ]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.dtype("float32"), "float32"], ids=["type", "dtype", "name"])
def test_a_dtype_of_the_network_itself_stays(x, dtype):
    net = nn.Dense(2, dtype=dtype)
    params, _ = init_net(net, jax.random.key(1), x)
    with computing(dtype="bfloat16"):
        inside = apply_net(net, params, {}, x)[0]
    np.testing.assert_array_equal(inside, apply_net(net, params, {}, x)[0])


def program(net, *args):
    """Return the program of a network in bfloat16."""
    params, _ = jax.eval_shape(lambda: init_net(net, jax.random.key(1), *args))

    def function(params, *args):
        with computing(dtype="bfloat16"):
            return apply_net(net, params, {}, *args)[0]

    return jax.make_jaxpr(function)(params, *args)


def test_modules_of_modules_compute_in_bfloat16(x):
    found = program(nn.Sequential([nn.Dense(4), jnp.tanh, nn.Dense(2)]), x)
    assert count_flops(found, "bfloat16") == count_flops(found) > 0


def test_a_module_around_others_computes_as_it_does(x):
    """Waves of 17 π x would be noise if x were rounded first."""
    found = program(nets.PeriodicFeatures(nets.DenoisingMLP((8,)), num_values=17), x, x[:, 0])
    assert count_flops(found, "bfloat16") > 0.5 * count_flops(found)
    waves = [line for line in str(found).splitlines() if "= cos " in line]
    assert len(waves) >= 2
    assert not any("bf16" in line for line in waves)


def test_statistics_are_updated_in_float32(x):
    params, state = init_net(Normalized(), jax.random.key(1), x)
    with computing(dtype="bfloat16"):
        _, new = apply_net(Normalized(), params, state, x, train=True)
    statistics = new["batch_stats"]["BatchNorm_0"]
    assert {leaf.dtype.name for leaf in jax.tree.leaves(statistics)} == {"float32"}
    hidden = rounded(x) @ rounded(params["Dense_0"]["kernel"])
    np.testing.assert_allclose(statistics["mean"], 0.25 * hidden.mean(0), rtol=1e-2, atol=1e-3)
    assert (np.asarray(statistics["mean"]) != rounded(statistics["mean"])).any()


def test_programs_of_both_dtypes_are_told_apart(x):
    net = nets.MLP(features=(4, 2))
    params, _ = init_net(net, jax.random.key(1), x)
    function = jax.jit(lambda params: apply_net(net, params, {}, x)[0])
    before = function(params)
    with computing(dtype="bfloat16"):
        inside = function(params)
    np.testing.assert_array_equal(before, function(params))
    assert 1e-4 < np.abs(before - inside).max() < 0.1


def test_dtypes_that_are_none_are_refused():
    with pytest.raises(ValueError, match="dtype is 'float16', but must be 'float32' or 'bfloat16'"):
        computing(dtype="float16")  # type: ignore[arg-type]


def count(jaxpr, name):
    """Return the number of operations of a name in a program."""
    return str(jaxpr).count(f" {name} ")


def gradient(loss, remat):
    """Return the function from parameters to the gradient of a loss."""

    def function(params):
        with computing(remat=remat):
            return jax.grad(loss)(params)

    return function


def test_the_gradient_keeps_products_and_computes_everything_else_again(x):
    net = nets.MLP(features=(4, 3, 1), activation=jnp.tanh)
    params, _ = init_net(net, jax.random.key(1), x)

    def loss(params):
        return jnp.sum(jnp.square(apply_net(net, params, {}, x)[0]))

    functions = [gradient(loss, remat) for remat in (False, True)]
    plain, remat = (jax.make_jaxpr(function)(params) for function in functions)
    assert count_flops(plain) == count_flops(remat) > 0
    assert (count(plain, "tanh"), count(remat, "tanh")) == (2, 4)
    one, other = (jax.jit(function)(params) for function in functions)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, other)


def test_products_of_batches_are_computed_again():
    """They are those of queries and keys, which are larger than what they are computed from."""
    net = Function(lambda params, x: jnp.tanh(jnp.einsum("bid,bjd->bij", x @ params["w"], x)), {"w": jnp.eye(2)})

    def loss(params):
        return jnp.sum(apply_net(net, params, {}, jnp.ones((3, 5, 2)))[0])

    plain, remat = (count_flops(jax.make_jaxpr(gradient(loss, remat))(net.params)) for remat in (False, True))
    assert remat - plain == 2 * 3 * 5 * 5 * 2


def test_a_network_with_remat_does_it_itself_and_drops_the_same_channels():
    settings = {"num_values": 5, "length": 6, "num_layers": 2, "num_heads": 2, "features": 8, "dropout": 0.5}
    own, plain = autoregressive.GPT(**settings, remat=True), autoregressive.GPT(**settings)
    batch = {"x": jax.random.randint(jax.random.key(0), (3, 6), 0, 5)}
    params = plain.init(jax.random.key(1), batch).params

    def loss(model):
        return lambda params: model.loss(params, {}, jax.random.key(2), batch, jnp.int32(0))[0]

    functions = [
        jax.jit(gradient(loss(plain), False)),
        jax.jit(gradient(loss(plain), True)),
        gradient(loss(own), False),
    ]
    flops = [count_flops(jax.make_jaxpr(function)(params)) for function in functions]
    assert flops[0] < flops[1] == flops[2]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        *(function(params) for function in functions[:2]),
    )


@pytest.mark.parametrize("net", [nets.UNet(8, (1, 2), num_blocks=1), nets.DiT(2, 8, 2, 2)], ids=["U-Net", "DiT"])
def test_less_is_kept_for_the_gradient(net):
    images, levels = jnp.zeros((4, 8, 8, 1)), jnp.zeros(4)
    params, state = jax.eval_shape(lambda: init_net(net, jax.random.key(0), images, levels))

    def num_bytes(remat):
        def kept(params):
            with computing(remat=remat):
                return jax.vjp(lambda params: apply_net(net, params, state, images, levels)[0], params)[1]

        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(kept, params)))

    assert num_bytes(True) < 0.4 * num_bytes(False)
