"""Small minibatches of every kind of data."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.core import Array, Batch

NUM_EXAMPLES = 8
NUM_FEATURES = 6


def unit_batch(key: Array) -> Batch:
    """Vectors in (0, 1), correlated so that there is something to learn."""
    return {"x": jax.nn.sigmoid(_correlated(key))}


def binary_batch(key: Array) -> Batch:
    """Vectors in {0, 1}."""
    return {"x": (_correlated(key) > 0).astype(jnp.float32)}


def integer_batch(key: Array) -> Batch:
    """Vectors in {0, 1, 2}."""
    return {"x": jnp.digitize(_correlated(key), jnp.array([-1.0, 1.0])).astype(jnp.int32)}


def real_batch(key: Array) -> Batch:
    """Vectors on the real line."""
    return {"x": _correlated(key)}


def image_batch(key: Array) -> Batch:
    """Binary images of 4 by 4 pixels and one channel, with a label of three classes."""
    key_x, key_y = jax.random.split(key)
    x = jax.random.bernoulli(key_x, 0.3, (NUM_EXAMPLES, 4, 4, 1)).astype(jnp.float32)
    return {"x": x, "label": jax.random.randint(key_y, (NUM_EXAMPLES,), 0, 3)}


def grey_batch(key: Array) -> Batch:
    """Images of 4 by 4 pixels and one channel in (0, 1), with a label of three classes."""
    key_x, key_y = jax.random.split(key)
    x = jax.random.uniform(key_x, (NUM_EXAMPLES, 4, 4, 1))
    return {"x": x, "label": jax.random.randint(key_y, (NUM_EXAMPLES,), 0, 3)}


def pair_batch(key: Array) -> Batch:
    """Images of 4 by 4 pixels in (0, 1), and their inverses with a second channel of noise."""
    key_x, key_y = jax.random.split(key)
    x = jax.random.uniform(key_x, (NUM_EXAMPLES, 4, 4, 1))
    return {"x": x, "y": jnp.concatenate([1 - x, jax.random.uniform(key_y, x.shape)], axis=-1)}


def captioned_batch(key: Array) -> Batch:
    """Images of 4 by 4 pixels and one channel in (0, 1), with a label of three classes and a padded text."""
    image_key, text_key = jax.random.split(key)
    prompt = jax.random.randint(text_key, (NUM_EXAMPLES, 3), 1, 5).at[:4, 2].set(0)
    return {**grey_batch(image_key), "prompt": prompt}


def byte_batch(key: Array) -> Batch:
    """Images of 4 by 4 pixels and one channel of 8 levels, with a label of three classes."""
    key_x, key_y = jax.random.split(key)
    x = jax.random.randint(key_x, (NUM_EXAMPLES, 4, 4, 1), 0, 8).astype(jnp.uint8)
    return {"x": x, "label": jax.random.randint(key_y, (NUM_EXAMPLES,), 0, 3)}


def level_batch(key: Array) -> Batch:
    """The images of ``byte_batch`` as int32."""
    return jax.tree.map(lambda a: a.astype(jnp.int32), byte_batch(key))


def code_batch(key: Array) -> Batch:
    """Grids of two by three code indices of five codes, with a label of three classes."""
    key_x, key_y = jax.random.split(key)
    x = jax.random.randint(key_x, (NUM_EXAMPLES, 2, 3), 0, 5)
    return {"x": x, "label": jax.random.randint(key_y, (NUM_EXAMPLES,), 0, 3)}


def token_batch(key: Array) -> Batch:
    """Sequences of tokens 0 to 4."""
    return {"x": jax.random.randint(key, (NUM_EXAMPLES, 6), 0, 5)}


def spoken_batch(key: Array) -> Batch:
    """The sequences of ``token_batch`` with a label of three classes and two numbers for each half."""
    key_x, key_y, key_local = jax.random.split(key, 3)
    label = jax.random.randint(key_y, (NUM_EXAMPLES,), 0, 3)
    return {**token_batch(key_x), "label": label, "local": jax.random.normal(key_local, (NUM_EXAMPLES, 2, 2))}


def _correlated(key: Array) -> Array:
    key_common, key_own = jax.random.split(key)
    common = jax.random.normal(key_common, (NUM_EXAMPLES, 1))
    return 2 * common + jax.random.normal(key_own, (NUM_EXAMPLES, NUM_FEATURES))
