"""The Wasserstein autoencoder with a penalty by the maximum mean discrepancy (WAE-MMD).

The optimal-transport cost between the data and a decoder's samples is a minimum over encoders whose aggregated
posterior q(z) = E_x q(z | x) is the prior p(z). With the constraint relaxed to a penalty,

    min over q, p    −E log p(x | z) + λ MMD²(q(z), p(z)),                z ~ q(z | x),                          (1)

equation 4 of the paper with the cost c(x, G(z)) = −log p(x | z), which is a squared error for Gaussian likelihoods.
A VAE's KL divergence pulls the posterior of *each* example to the prior, so that posteriors overlap. This penalty
acts on the distribution of all codes: an encoder may be deterministic, and reconstructions sharp. ``genjax.ops.mmd``
estimates MMD² without bias from the codes of a minibatch and as many draws of the prior. The variance of this estimate
falls with the size of the minibatch; use 100 examples or more.

The paper's kernel is an inverse multiquadric, a mixture of Gaussian kernels of all bandwidths. Here it is the mean of
several Gaussian kernels. Draws of N(0, I) in D dimensions are about √(2 D) apart; choose bandwidths below and above.

Ilya Tolstikhin, Olivier Bousquet, Sylvain Gelly and Bernhard Schölkopf 2018, arXiv:1711.01558.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import NonNegativeFloat, PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, NetSpec, apply_part, init_parts
from genjax.ops import Likelihood, at_least_float32, check_data_axes
from genjax.ops.mmd import check_bandwidths, mmd_loss
from genjax.ops.priors import Prior
from genjax.vae.gaussian import decoder_spec


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class WassersteinAutoencoder:
    """Autoencoder with deterministic codes whose distribution is matched to a prior by MMD.

    Tolstikhin et al. 2018, arXiv:1711.01558.

    Attributes:
      prior: p(z); its ``dim`` is the length of a code, D.
      encoder: network from x (B, ...) to codes (B, D).
      decoder: network from a code (B, D) to (B, ..., C * likelihood.num_outputs), with C the last axis of x.
      likelihood: p(x | outputs of the decoder).
      bandwidths: bandwidths of the kernels, such as 0.5, 1, 2 and 4 times √D.
      penalty: weight λ of MMD² in nats.

    >>> from genjax import nets, ops
    >>> model = WassersteinAutoencoder(
    ...     prior=ops.StandardNormal(2), encoder=nets.MLP((8, 2)), decoder=nets.MLP((8, 5)),
    ...     likelihood=ops.Bernoulli(), bandwidths=(1.0, 2.0, 4.0),
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 5))})
    >>> model.sample(variables, jax.random.key(1), 7).shape
    (7, 5)
    """

    prior: Prior
    encoder: Net
    decoder: Net
    likelihood: Likelihood
    bandwidths: tuple[PositiveFloat, ...]
    penalty: NonNegativeFloat = 100.0

    def __post_init__(self) -> None:
        check_bandwidths(self.bandwidths)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data like ``batch["x"]``, (B, ..., C).

        Raises:
          ValueError: before compilation, if a network's output has the wrong shape.
        """
        x = batch["x"]
        check_data_axes(x.shape)
        code = jnp.zeros((x.shape[0], self.prior.dim))
        specs = {
            "encoder": NetSpec(self.encoder, (x,), code.shape, f"codes of {self.prior}"),
            "decoder": decoder_spec(self.decoder, (code,), self.likelihood, x),
        }
        return init_parts(key, specs)

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objective ``autoencoder``, which trains both networks."""
        return (Objective(name="autoencoder", wrt=("encoder", "decoder"), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return equation 1 in nats per example, and its two terms as ``reconstruction`` and ``mmd_squared``."""
        del step
        x = batch["x"]
        prior_key, encoder_key, decoder_key = jax.random.split(key, 3)
        variables = Variables(params, state)
        code, encoder_state = apply_part(self, "encoder", variables, x, key=encoder_key, train=True)
        code = at_least_float32(code)
        outputs, decoder_state = apply_part(self, "decoder", variables, code, key=decoder_key, train=True)
        reconstruction = jnp.mean(self.likelihood.log_prob(outputs, x))
        mmd_squared = mmd_loss(code, self.prior.sample(prior_key, x.shape[0]), self.bandwidths, unbiased=True)
        loss = -reconstruction + self.penalty * mmd_squared  # equation 1
        new_state = {"encoder": encoder_state, "decoder": decoder_state}
        return loss, (new_state, {"reconstruction": reconstruction, "mmd_squared": mmd_squared})

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt, *, mean: bool = False) -> Array:
        """Draw samples, (num_samples, ...); ``mean=True`` returns E[x | z] instead, as figures usually show."""
        latent_key, data_key = jax.random.split(key)
        outputs, _ = apply_part(self, "decoder", variables, self.prior.sample(latent_key, num_samples))
        return self.likelihood.mean(outputs) if mean else self.likelihood.sample(data_key, outputs)

    def encode(self, variables: Variables, x: Array) -> Array:
        """Return the codes, (B, D)."""
        return at_least_float32(apply_part(self, "encoder", variables, x)[0])

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Return the expected data given codes (B, D)."""
        return self.likelihood.mean(apply_part(self, "decoder", variables, latent)[0])

    def reconstruct(self, variables: Variables, key: Array, x: Array) -> Array:
        """Return the expected data given the code, which is deterministic."""
        del key
        return self.decode(variables, self.encode(variables, x))

    def sample_prior(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw codes from p(z), (num_samples, D)."""
        del variables
        return self.prior.sample(key, num_samples)

    def sample_posterior(self, variables: Variables, key: Array, x: Array) -> Array:
        """Return the code of each example, (B, D): a draw of q(z | x), which has a single value."""
        del key
        return self.encode(variables, x)
