"""Scores of a finished run's latent variables: which are in use, and whether the codes of data fill the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import capabilities, core
from genjax.core import Array, Variables, stream_key
from genjax.latent import LatentModel
from genjax.metrics import Result, codebook_usage, gaussian_usage, mmd_test, over_replicas, unavailable
from genjax.runner.collapse import has_latents
from genjax.runner.evaluation import Evaluation
from genjax.runner.scorer import is_conditional

MOST_CODES = 1_000  # a side, of the two-sample test


def latents(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Encode the split: active units and divergence of Gaussian posteriors, usage and perplexity of a codebook."""
    (name,) = names
    model: Any = _autoencoder(evaluation.run.model)
    if not has_latents(model):
        return [unavailable(name, f"{type(model).__name__} has neither a Gaussian posterior nor a codebook")]
    told = [_usage(evaluation, model, replica) for replica in evaluation.replicas]
    return [over_replicas(same) for same in zip(*told, strict=True)]


def _usage(evaluation: Evaluation, model: Any, replica: int) -> list[Result]:
    protocol = {"examples": len(evaluation.source), "split": evaluation.split}
    if isinstance(model, capabilities.Posterior):
        mean, log_var = _encoded(evaluation, replica, "posterior")
        values = gaussian_usage(mean, log_var)
        dims = {"dimensions": mean.shape[1]}
        kl = float(jnp.sum(values["kl_per_dimension"]))
        return [
            Result(
                name="active_units",
                value=float(values["active_units"]),
                protocol=dims | {"active": "variance of the posterior mean above 0.01"} | protocol,
            ),
            Result(name="kl", value=kl, protocol={"units": "nats per example, against N(0, I)"} | dims | protocol),
        ]
    (codes,) = _encoded(evaluation, replica, "encode")
    values = codebook_usage(codes, model.num_codes)
    protocol = {"codes": model.num_codes, "vectors": codes.size} | protocol
    return [Result(name=name, value=float(value), protocol=protocol) for name, value in values.items()]


def aggregated_posterior(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Test whether the codes of data, drawn from their posteriors, differ from draws of the prior."""
    (name,) = names
    model: Any = _autoencoder(evaluation.run.model)
    if not isinstance(model, capabilities.LatentVariables):
        return [unavailable(name, f"{type(model).__name__} does not draw from both a prior and a posterior")]
    told = []
    for replica in evaluation.replicas:
        (codes,) = _encoded(evaluation, replica, "sample_posterior")
        choice_key, prior_key, test_key = jax.random.split(stream_key(evaluation.key, name), 3)
        # At random: the order of a data set often tells, as that of MNIST's test images does.
        codes = jax.random.choice(choice_key, codes, (min(MOST_CODES, len(codes)),), replace=False)
        prior = model.sample_prior(_variables(evaluation, replica), prior_key, len(codes))
        values = mmd_test(test_key, prior.reshape(len(prior), -1), codes.reshape(len(codes), -1))
        protocol = {"codes": len(codes), "prior draws": len(prior), "split": evaluation.split}
        threshold = {"guarantee": "unbiased MMD²", "5 % threshold": float(values["threshold"])}
        permutations = {"guarantee": "permutation test: at most 0.05 where the two differ at the 5 % level"}
        told.append(
            [
                Result(name=name, value=float(values["mmd2"]), protocol=threshold | protocol),
                Result(name=f"{name}/p_value", value=float(values["p_value"]), protocol=permutations | protocol),
            ]
        )
    return [over_replicas(same) for same in zip(*told, strict=True)]


def _encoded(evaluation: Evaluation, replica: int, method: str) -> tuple[Array, ...]:
    """Return what a method of the autoencoder gives for all examples of the split."""
    model: Any = _autoencoder(evaluation.run.model)
    function, conditional = jax.jit(getattr(model, method)), is_conditional(model)
    variables, parts = _variables(evaluation, replica), []
    for number, batch in enumerate(
        evaluation.batches(evaluation.split, f"codes of seed {evaluation.run.seeds[replica]}")
    ):
        key = core.step_key(stream_key(evaluation.key, "codes"), number)
        label = {"label": batch["label"]} if conditional else {}
        keyed = (variables, key) if method == "sample_posterior" else (variables,)
        codes = function(*keyed, batch["x"], **label)
        parts.append(codes if isinstance(codes, tuple) else (codes,))
    return tuple(jnp.asarray(np.concatenate(side)) for side in zip(*parts, strict=True))


def _autoencoder(model: Any) -> Any:
    return model.autoencoder if isinstance(model, LatentModel) else model


def _variables(evaluation: Evaluation, replica: int) -> Variables:
    model, variables = evaluation.run.model, evaluation.run.replica(replica)
    return model.part(variables, "autoencoder") if isinstance(model, LatentModel) else variables
