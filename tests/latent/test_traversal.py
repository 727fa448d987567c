"""Interpolations, traversals and attributes of a model whose encoder doubles and whose decoder halves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import latent, ops
from genjax.core import Variables

NOTHING = Variables({}, {})
X = jnp.array([[1.0, 0.0], [0.0, 3.0]])
Y = jnp.array([[0.0, 1.0], [4.0, 3.0]])


class Doubles:
    def encode(self, variables, x):
        return 2.0 * x

    def decode(self, variables, latent):
        assert latent.ndim == 2
        return latent / 2.0


class Shifts:
    """A shift for each class, subtracted by the encoder and added by the decoder."""

    def encode(self, variables, x, *, label):
        return x - 10.0 * label

    def decode(self, variables, latent, *, label):
        return latent + 10.0 * label


class Rounds(Doubles):
    def encode(self, variables, x):
        return x.astype(jnp.int32)


def test_interpolations_follow_their_path():
    straight = latent.interpolate(Doubles(), NOTHING, X, Y, 3)
    np.testing.assert_allclose(straight, np.stack([X, (X + Y) / 2, Y], axis=1))
    arc = latent.interpolate(Doubles(), NOTHING, X[:1], Y[:1], 3, path=ops.spherical_path)
    np.testing.assert_allclose(arc[0, 1], [0.5**0.5, 0.5**0.5], rtol=1e-6)


def test_a_traversal_changes_one_dimension_a_row():
    rows = latent.traverse(Doubles(), NOTHING, jnp.array([8.0, 6.0]), jnp.array([-2.0, 0.0, 2.0]))
    np.testing.assert_allclose(rows, [[[-1, 3], [0, 3], [1, 3]], [[4, -1], [4, 0], [4, 1]]])
    row = latent.traverse(Doubles(), NOTHING, jnp.array([8.0, 6.0]), jnp.array([2.0]), dims=(1,))
    np.testing.assert_allclose(row, [[[4, 1]]])
    with pytest.raises(ValueError, match="dims has 2, but the code has 2 dimensions; use 0 to 1"):
        latent.traverse(Doubles(), NOTHING, jnp.zeros(2), jnp.zeros(1), dims=(2,))


def test_an_attribute_is_the_difference_of_mean_codes():
    x = jnp.array([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]])
    vector = latent.attribute_vector(Doubles(), NOTHING, x, jnp.array([True, True, False]))
    np.testing.assert_allclose(vector, [4.0, -10.0])
    shifted = latent.add_attribute(Doubles(), NOTHING, X, vector, jnp.array([0.0, 1.0, -1.0]))
    np.testing.assert_allclose(shifted, X[:, None] + np.outer([0, 1, -1], [2.0, -5.0])[None])


def test_an_attribute_of_all_or_no_examples_is_refused():
    for has, count in ((True, 2), (False, 0)):
        with pytest.raises(
            ValueError, match=f"{count} of 2 codes have the attribute, but .* needs at least one with it"
        ):
            latent.attribute_vector(Doubles(), NOTHING, X, jnp.full(2, has))
    vector = jax.jit(latent.attribute_vector_of)(2.0 * X, jnp.array([True, False]))
    np.testing.assert_allclose(vector, [2.0, -6.0])


@pytest.mark.parametrize("label", [3, np.array([[3], [5]])])
def test_conditions_reach_encoder_and_decoder(label):
    """Labels may be one for all examples, or one for each."""
    model, own = Shifts(), 10.0 * np.broadcast_to(label, (2, 1))
    walk = latent.interpolate(model, NOTHING, X, Y, 3, label=label)
    np.testing.assert_allclose(walk, np.stack([X, (X + Y) / 2, Y], axis=1), atol=1e-5)
    rows = latent.traverse(model, NOTHING, jnp.array([8.0, 6.0]), jnp.array([-2.0, 0.0]), label=label)
    np.testing.assert_allclose(rows, np.array([[[-2, 6], [0, 6]], [[8, -2], [8, 0]]]) + own[:, None])
    vector = latent.attribute_vector(model, NOTHING, X, jnp.array([True, False]), label=label)
    np.testing.assert_allclose(vector, np.asarray(X)[0] - np.asarray(X)[1] - (own[0] - own[1]))
    shifted = latent.add_attribute(model, NOTHING, X, vector, jnp.array([0.0, 1.0]), label=label)
    np.testing.assert_allclose(shifted, np.stack([X, np.asarray(X) + np.asarray(vector)], axis=1), atol=1e-5)


def test_models_without_continuous_codes_are_refused():
    with pytest.raises(ValueError, match="codes of Rounds are int32 indices, which cannot be interpolated"):
        latent.interpolate(Rounds(), NOTHING, X, Y, 3)
    with pytest.raises(
        ValueError, match=r"model is <object .*>, but must be an Autoencoder: any object with encode and decode"
    ):
        latent.interpolate(object(), NOTHING, X, Y, 3)
