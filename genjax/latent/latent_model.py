"""An autoencoder and a prior over its codes as one generative model.

Given an encoder E and a decoder D, and a generative model p(c) trained on the codes c = E(x) of the data,

    c ~ p(c),        x = D(c)

draws data. A VQ-VAE with a prior over its indices, a moment matching network in code space and latent diffusion are all
instances of this class. If codes are discrete and the prior is normalized, one term of the marginal likelihood,

    log p(x) = log Σ_c p(x | c) p(c)  ≥  log p(x | E(x)) + log p(E(x)),                                        (1)

is a lower bound, deterministic unless the prior has only a bound of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast, final, runtime_checkable

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.capabilities import (
    Condition,
    HasLogProb,
    HasLogProbLowerBound,
    HasPosterior,
    Quantizes,
    conditions,
    is_discrete,
    num_values,
    supports,
)
from genjax.core import (
    Array,
    Batch,
    GenerativeModel,
    Learner,
    LossFn,
    Metrics,
    Objective,
    PyTree,
    Variables,
    stream_key,
)
from genjax.latent.greedy import SamplesPosterior
from genjax.latent.traversal import Autoencoder
from genjax.learners import Frozen, Stage

AUTOENCODER, PRIOR, LOG_VAR = "autoencoder", "prior", "log_var"


@runtime_checkable
class GenerativeAutoencoder(GenerativeModel, Autoencoder, Protocol):
    """A generative model that encodes and decodes."""


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class LatentModel:
    """A prior over the codes of an autoencoder: van den Oord et al. (2017), arXiv:1711.00937.

    Its objectives are those of both parts, ``autoencoder.…`` and ``prior.…``. They may be trained jointly, the prior on
    codes that still change; ``two_stages`` trains the autoencoder first.

    Attributes:
      autoencoder: model that encodes and decodes without conditions.
      prior: model of the codes. Its conditions, of any kind, are those of the whole model.
      sample_codes: whether the prior learns samples of the autoencoder's posterior, drawn anew for each batch, in place
        of the codes of ``encode``. For a VAE, whose decoder was trained on them, they are the better codes.

    Raises:
      ValueError: if ``autoencoder`` needs a condition, if its number of codes is not the number of values of the prior,
        or if codes are to be sampled from an autoencoder without a posterior.

    >>> from genjax import latent, moment_matching, nets, ops, vae
    >>> model = latent.LatentModel(
    ...     autoencoder=vae.VAE(
    ...         latent_dim=2, encoder=nets.MLP((4,)), decoder=nets.MLP((5,)), likelihood=ops.Bernoulli()
    ...     ),
    ...     prior=moment_matching.GMMN(latent_dim=1, generator=nets.MLP((2,)), bandwidths=(1.0,)),
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jax.numpy.zeros((3, 5))})
    >>> model.sample(variables, jax.random.key(1), 4).shape
    (4, 5)
    """

    autoencoder: GenerativeAutoencoder
    prior: GenerativeModel
    sample_codes: bool = False

    def __post_init__(self) -> None:
        model = type(self.autoencoder).__name__
        required = [condition.name for condition in conditions(self.autoencoder) if not condition.optional]
        if required:
            raise ValueError(
                f"autoencoder is a {model} that needs {required[0]!r}, but a LatentModel encodes and decodes without "
                "conditions; use an unconditional autoencoder, and condition the prior"
            )
        num_codes = self.autoencoder.num_codes if isinstance(self.autoencoder, Quantizes) else None
        if num_codes is not None and num_values(self.prior) not in (None, num_codes):
            raise ValueError(
                f"autoencoder has {num_codes} codes, but the prior models {num_values(self.prior)} values; "
                "make the two equal"
            )
        if self.sample_codes and not supports(self.autoencoder, SamplesPosterior):
            raise ValueError(
                f"sample_codes is True, but autoencoder is a {model} without sample_posterior; leave it out"
            )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of the prior."""
        return conditions(self.prior)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables of both parts for data like ``batch["x"]``."""
        autoencoder_key, prior_key = jax.random.split(key)
        autoencoder = self.autoencoder.init(autoencoder_key, batch)
        codes = self.codes(autoencoder, stream_key(prior_key, "codes"), batch)
        return self.join(autoencoder, self.prior.init(prior_key, codes))

    def join(self, autoencoder: Variables, prior: Variables) -> Variables:
        """Return this model's variables from those of its parts."""
        parts = {AUTOENCODER: autoencoder, PRIOR: prior}
        params = {f"{name}.{entry}": value for name, part in parts.items() for entry, value in part.params.items()}
        return Variables(params=params, state={name: part.state for name, part in parts.items()})

    def join_stages(self, stages: Frozen) -> Variables:
        """Return this model's variables from those of its ``two_stages``; pass it as ``Experiment(variables=…)``."""
        return self.join(stages[AUTOENCODER], stages[PRIOR])

    def part(self, variables: Variables, name: str) -> Variables:
        """Return the variables of the ``"autoencoder"`` or the ``"prior"``."""
        prefix = f"{name}."
        params = {entry.removeprefix(prefix): v for entry, v in variables.params.items() if entry.startswith(prefix)}
        return Variables(params=params, state=variables.state[name])

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives of the autoencoder and then those of the prior, whose gradients stop at the codes."""
        return tuple(
            Objective(
                name=f"{name}.{objective.name}",
                wrt=tuple(f"{name}.{entry}" for entry in objective.wrt),
                loss=self._loss(name, objective.loss),
            )
            for name, part in ((AUTOENCODER, self.autoencoder), (PRIOR, self.prior))
            for objective in part.objectives()
        )

    def codes(self, variables: Variables, key: Array, batch: Batch) -> Batch:
        """Return the batch with ``x`` replaced by the codes that the prior learns, at the autoencoder's variables."""
        if self.sample_codes:
            codes = cast(SamplesPosterior, self.autoencoder).sample_posterior(variables, key, batch["x"])
        else:
            codes = self.autoencoder.encode(variables, batch["x"])
        return {**batch, "x": jax.lax.stop_gradient(codes)}

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt, **options: Any) -> Array:
        """Decode draws of the prior, and return the expected data given these codes, (num_samples, ...).

        ``options`` are further arguments of the prior's ``sample``: its conditions, a temperature and the like. Codes
        of −1, which mark that the prior has diverged, become NaN.
        """
        codes = self.prior.sample(self.part(variables, PRIOR), key, num_samples, **options)
        x = self.decode(variables, codes)
        if num_values(self.prior) is None:
            return x
        is_drawn = jnp.all(codes >= 0, axis=range(1, codes.ndim))
        return jnp.where(is_drawn.reshape(-1, *[1] * (x.ndim - 1)), x, jnp.nan)

    # Codes do not depend on the conditions, which are those of the prior; ``encode`` and the like take and ignore them.

    def encode(self, variables: Variables, x: Array, **condition: Any) -> Array:
        """Return the autoencoder's codes of data."""
        self._check_names(condition)
        return self.autoencoder.encode(self.part(variables, AUTOENCODER), x)

    def decode(self, variables: Variables, latent: Array, **condition: Any) -> Array:
        """Return the autoencoder's data for codes."""
        self._check_names(condition)
        return self.autoencoder.decode(self.part(variables, AUTOENCODER), latent)

    def reconstruct(self, variables: Variables, key: Array, x: Array, **condition: Any) -> Array:
        """Decode the codes of data, without randomness."""
        del key
        return self.decode(variables, self.encode(variables, x, **condition))

    @property
    def lacks(self) -> tuple[str, ...]:
        """``log_prob_lower_bound``, unless codes are discrete and the prior has masses or their bounds: equation 1."""
        has_masses = supports(self.prior, HasLogProb) or (
            supports(self.prior, HasLogProbLowerBound) and is_discrete(self.prior)
        )
        return () if isinstance(self.autoencoder, Quantizes) and has_masses else ("log_prob_lower_bound",)

    @property
    def discrete(self) -> bool:
        """Whether the bound is on a log-mass rather than a log-density, as for the autoencoder."""
        return is_discrete(self.autoencoder)

    def log_prob_lower_bound(self, variables: Variables, key: Array, x: Array, **condition: Any) -> Array:
        """Return the bound (1) on log p(x), given the prior's conditions, in nats, (B,); ValueError for ``lacks``."""
        if self.lacks:
            raise ValueError(
                f"a {type(self.prior).__name__} over the codes of a {type(self.autoencoder).__name__} has no bound on "
                "the likelihood; use a VQVAE and a prior with log_prob"
            )
        autoencoder, prior = cast(Any, self.autoencoder), cast(Any, self.prior)  # they have what ``lacks`` asks for
        codes, learned = self.encode(variables, x), self.part(variables, PRIOR)
        if supports(prior, HasLogProb):
            log_prob = prior.log_prob(learned, codes, **condition)
        else:
            log_prob = prior.log_prob_lower_bound(learned, key, codes, **condition)
        log_likelihood = autoencoder.log_likelihood(self.part(variables, AUTOENCODER), codes, x)
        return log_likelihood + log_prob  # equation 1

    def _check_names(self, condition: Mapping[str, Any]) -> None:
        names = [allowed.name for allowed in self.conditions]
        unknown = sorted(set(condition) - set(names))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is given, but the conditions of the prior are {names}; leave it out")

    def _loss(self, name: str, part_loss: LossFn) -> LossFn:
        def loss(
            params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
        ) -> tuple[Array, tuple[PyTree, Metrics]]:
            variables = Variables(params, state)
            if name == PRIOR:
                batch = self.codes(self.part(variables, AUTOENCODER), stream_key(key, "codes"), batch)
            value, (part_state, metrics) = part_loss(*self.part(variables, name), key, batch, step)
            return value, ({**state, name: part_state}, metrics)

        return loss


@check_arguments
def two_stages(
    model: LatentModel,
    *,
    autoencoder: Learner,
    prior: Learner,
    steps: tuple[PositiveInt, PositiveInt],
    cache: bool = False,
) -> tuple[Stage, Stage]:
    """Return the stages that train the autoencoder, and then the prior on its codes, with a learner of each.

    They are for ``Experiment(stages=…, variables=model.join_stages)``; ``steps`` are their numbers of learner steps.
    With ``cache``, the training split is encoded once, before the second stage, and codes stay on the device: those of
    a model with ``sample_codes`` as means and log-variances of the posterior, from which each step draws anew.

    Raises:
      ValueError: if codes are to be sampled and cached, but the autoencoder's posterior is not Gaussian.
    """

    def codes(stages: Frozen) -> Callable[[Array, Batch], Batch]:
        return lambda key, batch: model.codes(stages[AUTOENCODER], key, batch)

    def moments(stages: Frozen) -> Callable[[Array, Batch], Batch]:
        def encode(key: Array, batch: Batch) -> Batch:
            del key
            mean, log_var = cast(HasPosterior, model.autoencoder).posterior(stages[AUTOENCODER], batch["x"])
            return {**batch, "x": mean, LOG_VAR: log_var}

        return encode

    def draw(key: Array, batch: Batch) -> Batch:
        batch = dict(batch)
        mean, deviation = batch["x"], jnp.exp(0.5 * batch.pop(LOG_VAR))
        return {**batch, "x": mean + deviation * jax.random.normal(key, mean.shape, mean.dtype)}

    if cache and model.sample_codes and not supports(model.autoencoder, HasPosterior):
        raise ValueError(
            f"cache and sample_codes are True, but autoencoder is a {type(model.autoencoder).__name__} without a "
            "Gaussian posterior, so that its draws cannot be cached; leave one of them out"
        )
    stage: dict[str, Any] = {"batch": codes}
    if cache:
        stage = {"cache": moments, "batch": lambda _: draw} if model.sample_codes else {"cache": codes}
    return (
        Stage(name=AUTOENCODER, learner=lambda _: autoencoder, steps=steps[0], model=model.autoencoder),
        Stage(name=PRIOR, learner=lambda _: prior, steps=steps[1], model=model.prior, **stage),
    )
