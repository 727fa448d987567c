"""The contract between models, learners and the runner.

A generative model is a value with three pure functions:

* ``init(key, batch) -> Variables`` makes what the model owns,
* ``objectives() -> (Objective, ...)`` lists scalar losses and the parts that each may move,
* ``sample(variables, key, num_samples) -> x`` draws from it.

Everything else that a model can do (a density, an encoder, a score) is a *capability*: a small runtime-checkable
Protocol of ``genjax.capabilities`` whose method names carry the guarantee. ``log_prob`` is exact and normalized,
``log_prob_lower_bound`` is a bound, ``log_prob_estimate`` a Monte-Carlo or ODE estimate; all return nats per example
with shape (B,).

Arguments come in one order everywhere: what is learned, then ``key``, then data. Batches are dicts of arrays whose
first axis is the batch; images are (B, H, W, C). The same names mean the same in every method, which describes only
what is special to it:

* ``variables``: what ``init`` or training returned, or ``params`` and ``state`` one after the other.
* ``key``: a typed key (``jax.random.key``).
* ``batch``: a dict of arrays (B, ...), the data under ``"x"``, conditions under their names.
* ``step``: number of finished learner steps, int32 scalar.
* ``x``: data, shape (B, ...). ``latent``: codes as ``encode`` returns them, shape (B, ...).
* ``num_samples``: number of samples, N, at least 1; of an estimate, its number of draws per example.
* ``label``: class of all examples, or int32 (B,) with one for each; only for models with ``num_classes``.
* ``prompt``: text of all examples, padded tokens, int32 (L,), or (B, L) with one for each; on the command line, words.
* ``negative_prompt``: text that guided samples move away from, as ``prompt``.
* ``mean``: whether to return the means of the likelihood, as figures usually show, instead of draws from it.
* ``temperature``: scale of the randomness, above 0 (0 for the mode where a model allows it); 1 samples the model.
* ``chunk_size``: number of draws computed at once, which sets memory and leaves the result as it is.

Keys derive statelessly, so that nothing random needs a checkpoint:

>>> import jax
>>> root = jax.random.key(0)
>>> key_at_step_7 = step_key(stream_key(root, "train"), 7)
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.struct
import jax

PyTree = Any  # of arrays; pytrees have no useful static type
Array = jax.Array
Batch = Mapping[str, Array]
Metrics = dict[str, Array]
LossFn = Callable[[dict[str, PyTree], PyTree, Array, Batch, Array], tuple[Array, tuple[PyTree, Metrics]]]


class Variables(NamedTuple):
    """What a model owns, as a pytree of arrays.

    Attributes:
      params: one entry per separately trained part, for example ``{"encoder": ..., "decoder": ...}``.
      state: all that moves by another rule than a gradient: batch statistics, chains, buffers, codebooks.
    """

    params: dict[str, PyTree]
    state: PyTree


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A scalar loss and the parts that it may move.

    Attributes:
      name: what optimizers, schedules and logs call it.
      wrt: names of the entries of ``params`` that this loss is minimized over.
      loss: ``(params, state, key, batch, step) -> (scalar, (new_state, metrics))``. It returns the whole of ``state``.
    """

    name: str
    wrt: tuple[str, ...]
    loss: LossFn


@runtime_checkable
class GenerativeModel(Protocol):
    """The three functions every model has."""

    def init(self, key: Array, batch: Batch) -> Variables: ...

    def objectives(self) -> tuple[Objective, ...]: ...

    def sample(self, variables: Variables, key: Array, num_samples: int) -> Array: ...


class TrainState(flax.struct.PyTreeNode):
    """All that training moves, arrays only.

    Attributes:
      step: number of finished learner steps, int32 scalar.
      params: see ``Variables``.
      state: see ``Variables``.
      opt_state: one optimizer state per objective, by name.
      ema: exponential moving average of ``params``, or None when it is off.
      averages: power-function averages of ``params`` by their length, such as "0.05"; empty when they are off.
    """

    step: Array
    params: dict[str, PyTree]
    state: PyTree
    opt_state: PyTree
    ema: PyTree
    averages: dict[str, PyTree] = flax.struct.field(default_factory=dict)

    @property
    def variables(self) -> Variables:
        """What evaluation and sampling use: the averaged parameters where there are any, the shortest average first."""
        if self.averages:
            return Variables(self.averages[min(self.averages, key=float)], self.state)
        return Variables(self.params if self.ema is None else self.ema, self.state)


class Learner(NamedTuple):
    """All that the runner, checkpoints and sharding ever see of training.

    Attributes:
      init: ``(key, batch) -> TrainState``.
      step: ``(TrainState, key, batch) -> (TrainState, metrics)``.
      minibatches: how many fresh minibatches one step consumes. When it is more than 1, every array of the batch that
        ``step`` takes has a leading axis of that length; ``init`` always takes one plain minibatch.
    """

    init: Callable[[Array, Batch], TrainState]
    step: Callable[[TrainState, Array, Batch], tuple[TrainState, Metrics]]
    minibatches: int = 1


def stream_key(root: Array, name: str) -> Array:
    """Derive the key of a named random stream; adding a stream disturbs no other."""
    return jax.random.fold_in(root, zlib.crc32(name.encode()))


def step_key(stream: Array, step: int | Array) -> Array:
    """Derive the key of one step of a stream."""
    return jax.random.fold_in(stream, step)
