"""Boltzmann machines."""

from __future__ import annotations

import optax

from genjax import boltzmann, latent
from genjax.core import Learner
from genjax.learners import Frozen, Stage, gradient_learner
from tests.contract.batches import NUM_FEATURES, binary_batch, image_batch, integer_batch, real_batch
from tests.contract.case import Case, Pipeline


def _rbm(**options) -> boltzmann.RBM:
    fields = {"shape": (NUM_FEATURES,), "num_hidden": 4, "negative_phase": boltzmann.Persistent(4)}
    return boltzmann.RBM(**(fields | options))


def _belief_net() -> boltzmann.DeepBeliefNet:
    options = {"negative_phase": boltzmann.Persistent(4), "centred": False}
    return boltzmann.DeepBeliefNet(shape=(NUM_FEATURES,), num_hidden=(4, 3), **options)


CASES = (
    Case("rbm", _rbm, batch=binary_batch, moves={"likelihood": ("negative_phase",)}),
    Case(
        "rbm_by_contrastive_divergence",
        lambda: _rbm(negative_phase=boltzmann.ContrastiveDivergence(2), centred=False, sparsity=0.2, weight_decay=1e-3),
        batch=binary_batch,
    ),
    Case(
        "rbm_of_gaussian_units",
        lambda: _rbm(negative_phase=boltzmann.FastWeights(4), units=boltzmann.GaussianUnits()),
        batch=real_batch,
        moves={"likelihood": ("negative_phase",)},
    ),
    Case(
        "rbm_of_softmax_units",
        lambda: _rbm(negative_phase=boltzmann.ParallelTempering(4, 3), units=boltzmann.SoftmaxUnits(3)),
        batch=integer_batch,
        moves={"likelihood": ("negative_phase",)},
    ),
    Case(
        "class_rbm",
        lambda: boltzmann.ClassRBM(
            shape=(4, 4, 1),
            num_classes=3,
            num_hidden=4,
            negative_phase=boltzmann.Persistent(4),
            discriminative_weight=0.5,
        ),
        batch=image_batch,
        moves={"likelihood": ("negative_phase",)},
    ),
    Case(
        "deep_boltzmann_machine",
        lambda: boltzmann.DeepBoltzmannMachine(
            shape=(NUM_FEATURES,), num_hidden=(4, 3), num_mean_field=3, negative_phase=boltzmann.Persistent(4)
        ),
        batch=binary_batch,
        moves={"likelihood": ("negative_phase",)},
    ),
    Case(
        "deep_belief_net",
        _belief_net,
        batch=binary_batch,
        moves={"wake_sleep": ("negative_phase",)},
        optimizers=optax.sgd(1.0),  # the weights start so small that codes would hardly matter
    ),
    Case(
        "boltzmann_machine",
        lambda: boltzmann.BoltzmannMachine(shape=(NUM_FEATURES,), num_hidden=2, num_chains=4, num_steps=2),
        batch=binary_batch,
        moves={"likelihood": ("chains",)},
    ),
    Case(
        "exact_boltzmann_machine",
        lambda: boltzmann.BoltzmannMachine(shape=(NUM_FEATURES,), num_hidden=2, exact=True),
        batch=binary_batch,
    ),
)


def belief_net_stages() -> tuple[Stage, ...]:
    """Train two layers in order, and then the whole net by the up-down algorithm."""
    model = _belief_net()
    layers = [lambda _, layer=layer: gradient_learner(layer, optax.sgd(0.1)) for layer in model.layers]

    def whole(finished: Frozen) -> Learner:
        return gradient_learner(
            model, optax.sgd(0.1), init=lambda _key, _batch: model.assemble(latent.layer_variables(finished))
        )

    tuning = Stage(name="fine_tuning", learner=whole, steps=4)
    return (*latent.greedy_stages(model.layers, layers, (4, 4)), tuning)


PIPELINES = (Pipeline("belief_net", belief_net_stages, batch=binary_batch),)

OWN_METHODS = {
    "RBM": ("free_energy", "log_partition_estimate", "num_visible", "rbm_params", "tractable"),
    "ClassRBM": ("class_log_prob", "classify", "joint", "rbm_params", "tractable"),
    "DeepBoltzmannMachine": (
        "assemble",
        "log_partition_estimate",
        "pretraining",
        "rbm_params",
        "sample_even",
        "sizes",
        "tractable",
    ),
    "DeepBeliefNet": ("assemble", "init_layer", "layers", "top"),
    "BoltzmannMachine": ("couplings", "num_visible", "tractable"),
}
