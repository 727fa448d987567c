"""Diffusion models and flow matching: a noise process, a denoiser and a sampler.

``Diffusion`` is the model. Its choices are values of the namespaces ``processes``, ``parametrizations``,
``weightings``, ``times``, ``score_matching``, ``couplings``, ``samplers``, ``grids``, ``operators`` and ``posterior``:

>>> from genjax import diffusion, nets
>>> model = diffusion.Diffusion(
...     shape=(2,),
...     net=nets.DenoisingMLP((16, 16)),
...     process=diffusion.processes.LinearPath(),
...     parametrization=diffusion.parametrizations.Flow(),
...     sampler=diffusion.samplers.Heun(),
...     grid=diffusion.grids.Uniform(),
... )
"""

from genjax.diffusion import (
    grids,
    operators,
    parametrizations,
    posterior,
    processes,
    samplers,
    score_matching,
    times,
    weightings,
)
from genjax.diffusion.consistency import ConsistencyModel, GridGap, ShrinkingGap, consistency_targets
from genjax.diffusion.diffusion import Diffusion
from genjax.diffusion.distillation import distillation_targets, distilled
from genjax.diffusion.editing import edit
from genjax.diffusion.grids import levels
from genjax.diffusion.guidance import classifier_free_guidance, classifier_guidance, dynamic_thresholding
from genjax.diffusion.loop import StepInfo, sample_loop
from genjax.diffusion.masked import MaskedDiffusion
from genjax.diffusion.mean_flow import MeanFlow
from genjax.diffusion.parametrizations import Prediction, convert
from genjax.diffusion.posterior import posterior_guidance, restore
from genjax.diffusion.processes import Level, level_at
from genjax.diffusion.reflow import reflow_pairs
from genjax.diffusion.uniform import UniformDiffusion
from genjax.diffusion.variational import VariationalDiffusion
from genjax.ops import couplings

__all__ = [
    "ConsistencyModel",
    "Diffusion",
    "GridGap",
    "Level",
    "MaskedDiffusion",
    "MeanFlow",
    "Prediction",
    "ShrinkingGap",
    "StepInfo",
    "UniformDiffusion",
    "VariationalDiffusion",
    "classifier_free_guidance",
    "classifier_guidance",
    "consistency_targets",
    "convert",
    "couplings",
    "distillation_targets",
    "distilled",
    "dynamic_thresholding",
    "edit",
    "grids",
    "level_at",
    "levels",
    "operators",
    "parametrizations",
    "posterior",
    "posterior_guidance",
    "processes",
    "reflow_pairs",
    "restore",
    "sample_loop",
    "samplers",
    "score_matching",
    "times",
    "weightings",
]
