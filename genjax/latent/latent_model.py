"""An autoencoder and a prior over its codes, which together are one generative model.

With an encoder E and a decoder D trained first, and a generative model p(c) trained on the codes c = E(x) of the data,

    c ~ p(c),        x = D(c)

draws data. A VQ-VAE with a prior over its indices, a moment matching network in code space and latent diffusion are
this class with other parts. Where codes are discrete and the prior is normalized,

    log p(x) = log Σ_c p(x | c) p(c)  ≥  log p(x | E(x)) + log p(E(x)),                                        (1)

one term of the sum: a bound, and without noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import jax

from genjax.capabilities import (
    Condition,
    Decodes,
    Encodes,
    HasLogProb,
    Quantizes,
    conditions,
    is_discrete,
    num_classes,
    num_values,
)
from genjax.core import Array, Batch, Learner, LossFn, Metrics, Objective, PyTree, Variables
from genjax.learners import Frozen, Stage

AUTOENCODER, PRIOR = "autoencoder", "prior"


@final
@dataclass(frozen=True, kw_only=True)
class LatentModel:
    """A prior over the codes of an autoencoder.

    Its objectives are those of both parts, ``autoencoder.…`` and ``prior.…``, so that it trains in one go as well, the
    prior on codes that still move; ``two_stages`` trains one after the other.

    Attributes:
      autoencoder: an unconditional model that encodes and decodes.
      prior: a model of data of the shape and dtype of the codes. Where it is conditional, so is the whole.

    Raises:
      ValueError: when ``autoencoder`` does not encode and decode, or takes labels, or has another number of codes than
        the prior has values.
    """

    autoencoder: Any
    prior: Any

    def __post_init__(self) -> None:
        model = type(self.autoencoder).__name__
        if not (isinstance(self.autoencoder, Encodes) and isinstance(self.autoencoder, Decodes)):
            raise ValueError(f"autoencoder is a {model}, which does not both encode and decode; use a VAE, for example")
        if any(not condition.optional for condition in conditions(self.autoencoder)):
            raise ValueError(
                f"autoencoder is a {model} with num_classes={num_classes(self.autoencoder)}, but a LatentModel encodes "
                "and decodes without a label; set its num_classes to None, and condition the prior"
            )
        num_codes = self.autoencoder.num_codes if isinstance(self.autoencoder, Quantizes) else None
        if num_codes is not None and num_values(self.prior) not in (None, num_codes):
            raise ValueError(
                f"autoencoder has {num_codes} codes, but the prior models {num_values(self.prior)} values; "
                "make the two equal"
            )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the prior is conditioned on."""
        return conditions(self.prior)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables of both parts for data like ``batch["x"]``."""
        autoencoder_key, prior_key = jax.random.split(key)
        autoencoder = self.autoencoder.init(autoencoder_key, batch)
        return self.join(autoencoder, self.prior.init(prior_key, self.codes(autoencoder, batch)))

    def join(self, autoencoder: Variables, prior: Variables) -> Variables:
        """Return this model's variables from those of its parts."""
        parts = {AUTOENCODER: autoencoder, PRIOR: prior}
        params = {f"{name}.{entry}": value for name, part in parts.items() for entry, value in part.params.items()}
        return Variables(params=params, state={name: part.state for name, part in parts.items()})

    def finished(self, stages: Frozen) -> Variables:
        """Return this model's variables from those of its ``two_stages``: what ``Experiment.variables`` wants."""
        return self.join(stages[AUTOENCODER], stages[PRIOR])

    def part(self, variables: Variables, name: str) -> Variables:
        """Return the variables of the ``"autoencoder"`` or the ``"prior"``."""
        start = f"{name}."
        params = {entry.removeprefix(start): v for entry, v in variables.params.items() if entry.startswith(start)}
        return Variables(params=params, state=variables.state[name])

    def objectives(self) -> tuple[Objective, ...]:
        """Those of the autoencoder, then those of the prior, whose gradients stop at the codes."""
        return tuple(
            Objective(
                name=f"{name}.{objective.name}",
                wrt=tuple(f"{name}.{entry}" for entry in objective.wrt),
                loss=self._loss(name, objective.loss),
            )
            for name, part in ((AUTOENCODER, self.autoencoder), (PRIOR, self.prior))
            for objective in part.objectives()
        )

    def codes(self, autoencoder: Variables, batch: Batch) -> Batch:
        """Return a batch whose ``x`` is replaced by its codes."""
        return {**batch, "x": jax.lax.stop_gradient(self.autoencoder.encode(autoencoder, batch["x"]))}

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        **options: Any,
    ) -> Array:
        """Decode draws of the prior.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.
          label: class of all samples, or int32 (N,) for each; only for conditional priors.
          **options: further ones of the prior's ``sample``, such as a temperature.

        Returns:
          Expected data given the codes drawn, (N, ...).
        """
        options |= {} if label is None else {"label": label}
        latent = self.prior.sample(self.part(variables, PRIOR), key, num_samples, **options)
        return self.decode(variables, latent)

    # Labels are the prior's: codes do not depend on them.

    def encode(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> Array:
        """Codes of data, as the autoencoder has them, whatever the label."""
        del label
        return self.autoencoder.encode(self.part(variables, AUTOENCODER), x)

    def decode(self, variables: Variables, latent: Array, *, label: Array | int | None = None) -> Array:
        """Data from codes, as the autoencoder has it, whatever the label."""
        del label
        return self.autoencoder.decode(self.part(variables, AUTOENCODER), latent)

    def reconstruct(self, variables: Variables, key: Array, x: Array, *, label: Array | int | None = None) -> Array:
        """Decode the codes of data; nothing is drawn."""
        del key, label
        return self.decode(variables, self.encode(variables, x))

    @property
    def lacks(self) -> tuple[str, ...]:
        """Likelihoods that these parts do not give: (1) wants codes of a codebook and the prior's exact masses."""
        quantizes = isinstance(self.autoencoder, Quantizes) and isinstance(self.prior, HasLogProb)
        return () if quantizes else ("log_prob_lower_bound",)

    @property
    def discrete(self) -> bool:
        """Whether the bound is of a log-mass of discrete values, as the autoencoder's likelihood has it."""
        return is_discrete(self.autoencoder)

    def log_prob_lower_bound(
        self, variables: Variables, key: Array, x: Array, *, label: Array | int | None = None
    ) -> Array:
        """Bound (1) of log p(x), given labels where the prior takes them; nats, (B,).

        Raises:
          ValueError: where codes are not discrete, or the prior has no exact masses.
        """
        del key  # the codes are certain
        if self.lacks:
            raise ValueError(
                f"a {type(self.prior).__name__} over the codes of a {type(self.autoencoder).__name__} bounds no "
                "likelihood: use a VQVAE and a prior with log_prob"
            )
        codes, option = self.encode(variables, x), {} if label is None else {"label": label}
        log_likelihood = self.autoencoder.log_likelihood(self.part(variables, AUTOENCODER), codes, x)
        return log_likelihood + self.prior.log_prob(self.part(variables, PRIOR), codes, **option)  # equation 1

    def _loss(self, name: str, part_loss: LossFn) -> LossFn:
        def loss(
            params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
        ) -> tuple[Array, tuple[PyTree, Metrics]]:
            variables = Variables(params, state)
            if name == PRIOR:
                batch = self.codes(self.part(variables, AUTOENCODER), batch)
            value, (moved, metrics) = part_loss(*self.part(variables, name), key, batch, step)
            return value, ({**state, name: moved}, metrics)

        return loss


def two_stages(
    model: LatentModel, *, autoencoder: Learner, prior: Learner, steps: tuple[int, int]
) -> tuple[Stage, Stage]:
    """Return the stages that train the autoencoder, and then the prior on its codes.

    Args:
      model: which is trained.
      autoencoder: learner of ``model.autoencoder``.
      prior: learner of ``model.prior``.
      steps: learner steps of either.

    Returns:
      Stages for ``Experiment(stages=…, variables=model.finished)``.
    """
    return (
        Stage(
            name=AUTOENCODER,
            learner=lambda _: autoencoder,
            steps=steps[0],
            model=model.autoencoder,
        ),
        Stage(
            name=PRIOR,
            learner=lambda _: prior,
            batch=lambda stages: lambda _, batch: model.codes(stages[AUTOENCODER], batch),
            steps=steps[1],
            model=model.prior,
        ),
    )
