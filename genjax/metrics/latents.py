"""Which latent variables are in use: active units, divergence of each dimension, usage of a codebook.

A VAE's dimension u is active where its posterior mean varies over data, and costs what its divergence says:

    A_u = Var_x(E_q(u|x)[u]) > 0.01,        KL_u = E_x[KL(q(u | x) ‖ N(0, 1))] nats.                            (1)

A decoder that models data alone leaves all dimensions at the prior: the posterior has collapsed. With f_k the share of
vectors quantized to code k of a codebook,

    usage = #{k : f_k > 0} / K,        perplexity = exp(−Σ_k f_k log f_k) ∈ [1, K].                             (2)

Active units: Yuri Burda, Roger Grosse & Ruslan Salakhutdinov 2016, arXiv:1509.00519, section 5.2. Perplexity of a
codebook: Aäron van den Oord, Oriol Vinyals & Koray Kavukcuoglu 2017, arXiv:1711.00937.
"""

from __future__ import annotations

import jax.numpy as jnp

from genjax.core import Array
from genjax.metrics.metric import Values
from genjax.ops import gaussian_kl, quantization

ACTIVE_VARIANCE = 0.01  # Burda et al. (2016); they find the distribution of A_u bimodal, so its choice matters little


def gaussian_usage(mean: Array, log_var: Array) -> Values:
    """Return how many dimensions of Gaussian posteriors are in use.

    Args:
      mean: posterior means, (N, D), of N examples; some hundreds tell.
      log_var: posterior log-variances, same shape.

    Returns:
      ``active_units``, in 0 … D, and ``kl_per_dimension`` in nats, (D,); see (1).

    >>> mean = jnp.array([[-1.0, 0.0], [1.0, 0.0]])
    >>> values = gaussian_usage(mean, jnp.zeros((2, 2)))
    >>> int(values["active_units"]), values["kl_per_dimension"].tolist()
    (1, [0.5, 0.0])
    """
    active = jnp.var(mean, axis=0) > ACTIVE_VARIANCE
    return {
        "active_units": jnp.sum(active, dtype=jnp.float32),
        "kl_per_dimension": jnp.mean(gaussian_kl(mean, log_var), axis=0),
    }


def codebook_usage(codes: Array, num_codes: int) -> Values:
    """Return how much of a codebook is in use.

    Args:
      codes: indices in 0 … num_codes − 1, any shape.
      num_codes: K.

    Returns:
      ``codebook_usage`` in [0, 1] and ``perplexity`` in [1, K]; see (2).

    >>> values = codebook_usage(jnp.array([0, 0, 3, 3]), 8)
    >>> float(values["codebook_usage"]), float(values["perplexity"])
    (0.25, 2.0)
    """
    usage, perplexity = (
        measure(codes, num_codes) for measure in (quantization.codebook_usage, quantization.perplexity)
    )
    return {"codebook_usage": usage, "perplexity": perplexity}
