"""Errors are raised before anything compiles, and state the value, the limit and the cure in one line."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import flow, latent, nets

AFFINE = flow.Affine()
COUPLING = flow.Coupling(transform=AFFINE, net=nets.MLP((4,)))
CHECKERBOARD = flow.Coupling(transform=AFFINE, net=nets.ResidualCNN(features=2), parts="checkerboard")
MODEL = flow.Flow(shape=(2,), bijection=flow.ActNorm())
UNIT = flow.Flow(shape=(2,), bijection=flow.Logit())


class Normalized(nn.Module):
    """A network with batch statistics."""

    output_shape: tuple[int, ...] = (1,)

    @nn.compact
    def __call__(self, x, condition=None, train=False):
        outputs = nets.MLP((4,), output_shape=self.output_shape)(x, condition)
        return nn.BatchNorm(use_running_average=not train)(outputs)


@pytest.mark.parametrize(
    ("bijection", "shape", "message"),
    [
        (
            COUPLING,
            (1,),
            r"x has shape \(3, 1\), but a last axis of size 1 cannot be halved; use an autoregressive flow",
        ),
        (
            CHECKERBOARD,
            (4,),
            r"x has shape \(3, 4\), but a checkerboard needs images \(B, H, W, C\) with at least two pixels",
        ),
        (CHECKERBOARD, (1, 1, 2), r"x has shape \(3, 1, 1, 2\), but a checkerboard needs .*; use parts='halves'"),
        (
            flow.Squeeze(),
            (3, 4, 1),
            r"x has shape \(3, 3, 4, 1\), but Squeeze needs images .* of even height and width",
        ),
        (flow.Squeeze(), (4, 5, 1), "even height and width"),
        (flow.Squeeze(), (4,), "even height and width"),
        (
            flow.MultiScale(shape=(2, 2, 1), scales=(flow.ActNorm(), flow.ActNorm())),
            (2, 2, 1),
            "scale 0 outputs 1 channels, but only an even number can be halved; add a Squeeze to it",
        ),
        (
            flow.MaskedAutoregressive(transform=AFFINE, features=(4,)),
            (2, 2, 1),
            r"MaskedMLP got shape \(3, 2, 2, 1\), but takes vectors \(B, D\); flatten",
        ),
        (
            flow.Coupling(transform=AFFINE, net=Normalized()),
            (4,),
            r"net has the collections \['batch_stats'\], but a flow's networks may only have params",
        ),
    ],
)
def test_data_that_does_not_fit_a_bijection(bijection, shape, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(bijection.init, jax.random.key(0), jnp.zeros((3, *shape)))


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (flow.Coupling, {"transform": AFFINE, "net": nets.MLP((4,)), "parts": "odd"}, "parts is 'odd', but must be"),
        (
            flow.Coupling,
            {"transform": AFFINE, "net": nn.Dense(4)},
            "but must be a Linen module with a field output_shape",
        ),
        (flow.Coupling, {"transform": AFFINE, "net": None}, "net is None, but must be a Linen module"),
        (
            flow.MaskedAutoregressive,
            {"transform": AFFINE, "features": (4,), "inversion": "newton"},
            "inversion is 'newton', but must be 'sequential' or 'jacobi'",
        ),
        (flow.InvertibleLinear, {"start": "zero"}, "start is 'zero', but must be 'rotation' or 'identity'"),
        (flow.Scan, {"bijection": COUPLING, "num_layers": 0}, "num_layers is 0, but must be at least 1"),
        (flow.Scan, {"bijection": COUPLING, "num_layers": 1, "unroll": 0}, "unroll is 0, but must be at least 1"),
        (flow.Scan, {"bijection": COUPLING, "num_layers": 1, "backward": "drop"}, "backward is 'drop', but must be"),
        (
            flow.Reshape,
            {"from_shape": (2, 3), "to_shape": (5,)},
            "they have 6 and 5 elements; give shapes of equal size",
        ),
        (flow.MultiScale, {"shape": (4, 4, 1), "scales": ()}, r"scales is \(\), but must be of length 1 or more"),
        (flow.Logit, {"low": 1.0, "high": 1.0}, "low is 1.0 and high is 1.0, but low must be below high"),
        (flow.Logit, {"alpha": 0.0}, r"alpha is 0.0, but must be in \(0, 0.5\); 0.05 for images"),
        (flow.Logit, {"alpha": 0.5}, r"alpha is 0.5, but must be in \(0, 0.5\)"),
        (
            flow.Flow,
            {"shape": (), "bijection": COUPLING},
            r"shape is \(\), but must be of length 1 or more; use \(D,\) for",
        ),
        (
            flow.Flow,
            {"shape": (0,), "bijection": COUPLING},
            r"shape is \(0,\), .* at least 1, and 0 is not; use \(D,\)",
        ),
        (flow.Flow, {"shape": (2,), "bijection": COUPLING, "num_classes": 0}, "num_classes is 0, .* use None for"),
        (flow.nice, {"shape": (4,), "num_layers": 3}, "num_layers is 3, but couplings come in pairs; use 2, 4"),
        (flow.real_nvp, {"shape": (4,), "num_layers": 1}, "num_layers is 1, but couplings come in pairs"),
        (flow.real_nvp, {"shape": (4,), "num_layers": 0}, "num_layers is 0, but couplings come in pairs"),
        (flow.real_nvp_image, {"shape": (4, 4, 1), "num_layers": 5}, "num_layers is 5, but couplings come in pairs"),
        (flow.real_nvp_image, {"shape": (4, 4, 1), "num_scales": 1}, "num_scales is 1, .* 2; use real_nvp for one"),
        (flow.glow, {"shape": (4, 4, 1), "num_scales": 0}, "num_scales is 0, but must be at least 1"),
        (flow.glow, {"shape": (4, 4, 1), "num_steps": 0}, "num_steps is 0, but must be at least 1"),
        (flow.neural_spline_flow, {"shape": (4,), "num_layers": 7}, "num_layers is 7, but couplings come in pairs"),
        (
            flow.neural_spline_flow,
            {"shape": (4,), "kind": "linear"},
            "kind is 'linear', but must be 'coupling' or 'autoregressive'",
        ),
        (flow.neural_spline_flow, {"shape": (4,), "num_bins": 0}, "num_bins is 0, but must be at least 1"),
        (flow.masked_autoregressive_flow, {"shape": (4,), "num_layers": 0}, "num_layers is 0, but must be at least 1"),
    ],
)
def test_fields(make, fields, message):
    with pytest.raises(ValueError, match=message):
        make(**fields)


def test_one_dimension_is_for_autoregressive_flows():
    for model in (flow.nice(shape=(1,)), flow.real_nvp(shape=(1,)), flow.neural_spline_flow(shape=(1,))):
        with pytest.raises(ValueError, match="cannot be halved; use an autoregressive flow for one dimension"):
            jax.eval_shape(model.init, jax.random.key(0), {"x": jnp.zeros((3, 1))})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 3), np.float32), r"x has shape \(3, 3\), but this model has shape=\(2,\) after the batch axis"),
        (np.zeros((3, 2), np.uint8), "x has dtype uint8, but this model is of real numbers; .* data.dequantize"),
        (
            np.float32([[0, 1], [np.nan, 1]]),
            r"x is nan at \(1, 0\), but data must be finite; drop or fill such examples",
        ),
        (np.float32([[0, np.inf]]), r"x is inf at \(0, 1\), but data must be finite"),
    ],
)
def test_invalid_data(x, message):
    x = jnp.asarray(x)
    variables = MODEL.init(jax.random.key(0), {"x": jnp.eye(2)})
    calls = [
        lambda: MODEL.init(jax.random.key(1), {"x": x}),
        lambda: MODEL.log_prob(variables, x),
        lambda: MODEL.encode(variables, x),
        lambda: MODEL.loss(variables.params, variables.state, jax.random.key(2), {"x": x}, 0),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()


def test_data_beyond_a_bounded_support():
    """They are rejected if their values are known; otherwise their density is zero."""
    message = r"x is -0.5 at \(1, 0\), but Logit takes data in \[0, 1\]; rescale the data, for example with"
    x = jnp.array([[0.5, 1.0], [-0.5, 0.5]])
    with pytest.raises(ValueError, match=message):
        UNIT.init(jax.random.key(0), {"x": x})
    variables = UNIT.init(jax.random.key(0), {"x": x[:1]})
    log_prob = jax.jit(UNIT.log_prob)(variables, x)
    assert np.isfinite(log_prob[0])
    assert log_prob[1] == -np.inf


def test_known_data_may_be_a_constant_of_a_compiled_function():
    x = jnp.full((3, 2), 0.5)
    variables = jax.jit(lambda key: UNIT.init(key, {"x": x}))(jax.random.key(0))
    np.testing.assert_allclose(
        jax.jit(lambda variables: UNIT.log_prob(variables, x))(variables), UNIT.log_prob(variables, x), rtol=1e-5
    )


def test_labels():
    model = flow.Flow(shape=(2,), bijection=flow.Elementwise(AFFINE), num_classes=3)
    x = jnp.zeros((4, 2))
    with pytest.raises(ValueError, match=r"the batch has \['x'\], but num_classes=3 needs 'label'; add it"):
        model.init(jax.random.key(0), {"x": x})
    variables = model.init(jax.random.key(0), {"x": x, "label": jnp.zeros(4, jnp.int32)})
    for call in (
        lambda: model.log_prob(variables, x),
        lambda: model.sample(variables, jax.random.key(1), 2),
        lambda: model.sample_and_log_prob(variables, jax.random.key(2), 2),
    ):
        with pytest.raises(ValueError, match="label is None, but this model has num_classes=3; give label=0"):
            call()
    with pytest.raises(ValueError, match=r"label is 3, but must be in 0, \.\.\., 2"):
        model.log_prob(variables, x, label=3)
    plain = MODEL.init(jax.random.key(3), {"x": jnp.eye(2)})
    with pytest.raises(ValueError, match="label is given, but this model has num_classes=None; leave it out"):
        MODEL.sample(plain, jax.random.key(4), 2, label=0)


def test_counts():
    variables = MODEL.init(jax.random.key(0), {"x": jnp.eye(2)})
    key = jax.random.key(1)
    with pytest.raises(ValueError, match="num_samples is 0, but must be at least 1"):
        MODEL.sample(variables, key, 0)
    with pytest.raises(ValueError, match="num_samples is 0, but must be at least 1"):
        MODEL.sample_and_log_prob(variables, key, 0)
    with pytest.raises(ValueError, match=r"temperature is -1\.0, but must be at least 0"):
        MODEL.sample(variables, key, 2, temperature=-1.0)
    with pytest.raises(ValueError, match="num_steps is 1, but must be at least 2"):
        latent.interpolate(MODEL, variables, jnp.eye(2), jnp.eye(2), 1)
