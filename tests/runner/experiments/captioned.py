"""A toy model of images given a caption, a source image and, optionally, a style: conditions that no family has yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import Experiment, data
from genjax.capabilities import Condition
from genjax.core import Objective, Variables
from genjax.data import Characters

CAPTIONS = ("dark", "light")
LENGTH = 6


@final
@dataclass(frozen=True, kw_only=True)
class Captioned:
    """N(source + w·[caption is "light"] + mean(style), I): it shows in a sample which conditions arrived."""

    @property
    def conditions(self):
        """A text, an image and an optional vector."""
        return (
            Condition(name="caption", kind="tokens", shape=(LENGTH,), num_values=9),
            Condition(name="source", kind="image", shape=(4, 4, 1)),
            Condition(name="style", kind="array", shape=(2,), optional=True),
        )

    @property
    def discrete(self):
        """A density."""
        return False

    def init(self, key, batch):
        """Make the one weight."""
        del key, batch
        return Variables({"model": {"weight": jnp.zeros(())}}, {})

    def objectives(self):
        """The negative log-likelihood."""
        return (Objective(name="likelihood", wrt=("model",), loss=self.loss),)

    def loss(self, params, state, key, batch, step):
        """Negative log-likelihood of a batch."""
        del key, step
        condition = {name: batch[name] for name in ("caption", "source", "style") if name in batch}
        log_prob = self.log_prob(Variables(params, state), batch["x"], **condition)
        return -jnp.mean(log_prob), (state, {})

    def log_prob(self, variables, x, *, caption, source, style=None):
        """Exact log-density, nats, (B,)."""
        residual = x - self._mean(variables, caption, source, style)
        return jnp.sum(jax.scipy.stats.norm.logpdf(residual), axis=(1, 2, 3))

    def sample(self, variables, key, num_samples, *, caption, source, style=None, scale: float = 1.0):
        """Draw N images; ``scale`` is their standard deviation."""
        noise = scale * jax.random.normal(key, (num_samples, 4, 4, 1))
        return self._mean(variables, caption, source, style) + noise

    def encode(self, variables, x, *, caption, source, style=None):
        """What the conditions leave unexplained."""
        return x - self._mean(variables, caption, source, style)

    def decode(self, variables, latent, *, caption, source, style=None):
        """The inverse of ``encode``."""
        return latent + self._mean(variables, caption, source, style)

    def reconstruct(self, variables, key, x, *, caption, source, style=None):
        """The data themselves."""
        del key
        code = self.encode(variables, x, caption=caption, source=source, style=style)
        return self.decode(variables, code, caption=caption, source=source, style=style)

    def _mean(self, variables, caption, source, style):
        light = jnp.any(caption == Characters("adghiklrt").encode("g")[0], axis=-1)  # of the two, "light" has a g
        shift = variables.params["model"]["weight"] * light + (0.0 if style is None else jnp.mean(style, axis=-1))
        return source + shift[:, None, None, None]


def dataset() -> data.Dataset:
    """Images that lie 4 above their source where the caption is "light"."""
    rng, tokenizer = np.random.default_rng(0), Characters("adghiklrt")

    def split(size: int) -> data.ArraySource:
        light = rng.integers(0, 2, size)
        tokens = [tokenizer.encode(CAPTIONS[i]) for i in light]
        source = rng.random((size, 4, 4, 1), np.float32)
        noise = rng.normal(size=source.shape).astype(np.float32)
        return data.ArraySource(
            {
                "x": source + 4.0 * light[:, None, None, None].astype(np.float32) + noise,
                "caption": np.stack([np.pad(t, (0, LENGTH - len(t))) for t in tokens]).astype(np.int32),
                "source": source,
            }
        )

    return data.Dataset(
        name="captioned",
        splits={"train": split(256), "validation": split(64), "test": split(64)},
        condition_tokenizers={"caption": tokenizer},
    )


def experiment(steps: int = 60) -> Experiment:
    """Fit the weight, whose best value is 4.

    Args:
      steps: number of steps.
    """
    return Experiment(
        model=Captioned(),
        data=dataset(),
        optimizer=optax.adam(0.2),
        steps=steps,
        batch_size=64,
        log_every=20,
    )
