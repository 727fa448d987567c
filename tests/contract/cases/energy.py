"""Energy-based models."""

from __future__ import annotations

import flax.linen as nn

from genjax import energy, flow, nets
from tests.contract.batches import NUM_FEATURES, binary_batch, grey_batch, real_batch, unit_batch
from tests.contract.case import Case


class WithoutConstant(nn.Module):
    """A network whose last layer has no bias, which most rules would give no gradient."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1, use_bias=False)(nn.gelu(nn.Dense(8)(x)))


def _model(**options) -> energy.EnergyModel:
    fields = {
        "net": WithoutConstant(),
        "base": energy.Gaussian((NUM_FEATURES,), std=2.0),
        "kernel": energy.MALA(0.05),
        "num_steps": 3,
    }
    return energy.EnergyModel(**(fields | options))


CASES = (
    Case(
        "energy_by_persistent_contrastive_divergence",
        lambda: _model(
            rules=(energy.ContrastiveDivergence(num_steps=2, buffer_size=16, kl_weight=0.1),),
            penalties=(energy.EnergyMagnitude(), energy.GradientPenalty()),
        ),
        batch=real_batch,
        moves={"energy": ("rules",)},
    ),
    Case(
        "energy_matching",
        lambda: _model(
            base=energy.Uniform(shape=(NUM_FEATURES,), low=-1.0, high=2.0),
            rules=(
                energy.FlowMatching(),
                energy.ContrastiveDivergence(start="data", num_steps=2, weight=0.1),
            ),
            kernel=energy.AnnealedLangevin(0.01, initial_temperature=0.0),
            temperature=0.5,
        ),
        batch=unit_batch,
    ),
    Case(
        "energy_by_score_matching",
        lambda: _model(rules=(energy.SlicedScoreMatching(num_directions=2), energy.DenoisingScoreMatching())),
        batch=real_batch,
    ),
    Case(
        "energy_over_a_flow",
        lambda: _model(
            base=energy.Pretrained(flow.real_nvp(shape=(NUM_FEATURES,), num_layers=2, hidden=(4,))),
            rules=(energy.NoiseContrastive(num_noise=2),),
        ),
        batch=real_batch,
    ),
    Case(
        "energy_of_bits",
        lambda: _model(
            base=energy.Bernoulli((NUM_FEATURES,)),
            rules=(energy.ContrastiveDivergence(num_steps=2, buffer_size=16),),
            kernel=energy.GibbsWithGradients(),
        ),
        batch=binary_batch,
        moves={"energy": ("rules",)},
    ),
    Case(
        "joint_energy_model",
        lambda: _model(
            net=nets.MLP((8, 3)),
            base=energy.Gaussian((4, 4, 1)),
            rules=(energy.ContrastiveDivergence(start="noise", num_steps=2), energy.Classification()),
            num_classes=3,
        ),
        batch=grey_batch,
    ),
    Case(
        "product_of_energies",
        lambda: energy.Product(
            experts=(
                energy.Expert(_model(rules=(energy.SlicedScoreMatching(),))),
                energy.Expert(_model(rules=(energy.DenoisingScoreMatching(),)), weight=0.5),
            ),
            kernel=energy.MALA(0.05),
            num_steps=3,
        ),
        batch=real_batch,
    ),
)

OWN_METHODS = {
    "EnergyModel": ("density", "log_partition_estimate", "log_partitions", "shape", "with_base", "with_new_rules"),
    "Product": ("base", "density", "join", "log_partition_estimate", "log_partitions", "part", "shape"),
}
