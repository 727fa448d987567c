"""Usage of latent variables: active units, KL divergence of each dimension, usage of a codebook.

Dimension u of a VAE is active if its posterior mean varies over the data; its KL divergence is its cost:

    A_u = Var_x(E_q(u|x)[u]) > 0.01,        KL_u = E_x[KL(q(u | x) ‖ N(0, 1))] nats.                            (1)

A decoder that ignores the latent variables leaves every dimension at the prior: the posterior has collapsed. If the
posterior can only be sampled, with S samples for each x, the analysis of variance estimates A_u without bias,

    Â_u = Var_x(mean_s u) − E_x[Var_s(u)] / S.                                                                  (2)

With f_k the fraction of vectors quantized to code k of a codebook,

    usage = #{k : f_k > 0} / K,        perplexity = exp(−Σ_k f_k log f_k) ∈ [1, K].                             (3)

Active units: Yuri Burda, Roger Grosse & Ruslan Salakhutdinov 2016, arXiv:1509.00519, section 5.2. Perplexity of a
codebook: Aäron van den Oord, Oriol Vinyals & Koray Kavukcuoglu 2017, arXiv:1711.00937.
"""

from __future__ import annotations

import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array
from genjax.metrics.metric import Values
from genjax.ops import check_at_least, gaussian_kl, quantization

# Burda et al. (2016); the distribution of A_u is bimodal there, so that the threshold matters little.
MIN_ACTIVE_VARIANCE = 0.01


@check_arguments
def gaussian_usage(mean: Array, log_var: Array) -> Values:
    """Return the number of active dimensions of Gaussian posteriors, and the KL divergence of each.

    Means and log-variances of N examples have shape (N, D); some hundreds of examples suffice.

    Returns:
      ``active_units``, in 0 … D, and ``kl_per_dimension`` in nats, shape (D,); see (1).

    >>> mean = jnp.array([[-1.0, 0.0], [1.0, 0.0]])
    >>> values = gaussian_usage(mean, jnp.zeros((2, 2)))
    >>> int(values["active_units"]), values["kl_per_dimension"].tolist()
    (1, [0.5, 0.0])
    """
    active = jnp.var(mean, axis=0) > MIN_ACTIVE_VARIANCE
    return {
        "active_units": jnp.sum(active, dtype=jnp.float32),
        "kl_per_dimension": jnp.mean(gaussian_kl(mean, log_var), axis=0),
    }


@check_arguments
def implicit_usage(draws: Array) -> Values:
    """Return the number of active dimensions of implicit posteriors, from samples.

    Args:
      draws: S posterior samples for each of N examples, shape (N, S, D), S and N at least 2. For a posterior that
        equals the prior, Â_u has an error of (Var(u) / S) √(2 / N): with S = 32 and N = 1,000, 0.0014 of the variance.

    Returns:
      ``active_units``, in 0 … D, the number of dimensions with Â_u > 0.01, and ``variance_of_means``, Â_u, shape (D,);
      see (2). The threshold assumes a prior of unit variance.

    >>> draws = jnp.array([[[-1.0, 0.5], [-1.0, -0.5]], [[1.0, -0.5], [1.0, 0.5]]])
    >>> values = implicit_usage(draws)
    >>> int(values["active_units"]), values["variance_of_means"].tolist()
    (1, [2.0, -0.25])
    """
    if draws.ndim != 3:
        raise ValueError(f"draws have shape {draws.shape}, but must be (examples, draws, dimensions)")
    for name, count in zip(("examples", "draws"), draws.shape, strict=False):
        check_at_least(f"the number of {name}", count, 2)
    within = jnp.mean(jnp.var(draws, axis=1, ddof=1), axis=0)
    variance = jnp.var(jnp.mean(draws, axis=1), axis=0, ddof=1) - within / draws.shape[1]  # equation 2
    return {
        "active_units": jnp.sum(variance > MIN_ACTIVE_VARIANCE, dtype=jnp.float32),
        "variance_of_means": variance,
    }


@check_arguments
def codebook_usage(codes: Array, num_codes: PositiveInt) -> Values:
    """Return ``codebook_usage`` in [0, 1] and ``code_perplexity`` in [1, K] (3) of indices of K codes, any shape.

    >>> values = codebook_usage(jnp.array([0, 0, 3, 3]), 8)
    >>> float(values["codebook_usage"]), float(values["code_perplexity"])
    (0.25, 2.0)
    """
    return {
        "codebook_usage": quantization.code_usage(codes, num_codes),
        "code_perplexity": quantization.code_perplexity(codes, num_codes),
    }
