"""The diffusion model: a noise process, a denoiser and a sampler.

Data become noise by x_t = α x₀ + σ ε. A network learns to tell data from noise in x_t at any time, by the squared error
of one of them or of a linear combination q of both:

    min E_{x₀, ε, t} w(t) ‖q̂(x_t, t) − q(x₀, ε)‖².                                                               (1)

The minimizer is the mean of q given x_t. It determines the score of the density of x_t, and so every path from noise
back to data. A class-conditional network is trained with and without labels: a fraction of the examples gets the null
label in place of its own, so that samples can be guided (``guidance``).

Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239; Yang Song et al. 2021, arXiv:2011.13456; flow matching:
Yaron Lipman et al. 2023, arXiv:2210.02747.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, final

import jax
import jax.numpy as jnp
from annotated_types import Interval

from genjax.arguments import Cure, ExampleShape, NumClasses, PositiveInt, check_arguments
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.diffusion import likelihood
from genjax.diffusion.grids import GRIDS, Grid, GridName, LogSNR, NumSteps, levels
from genjax.diffusion.guidance import (
    GuidanceWeight,
    Percentile,
    check_guidance,
    classifier_free_guidance,
    dynamic_thresholding,
)
from genjax.diffusion.loop import StepInfo, sample_loop
from genjax.diffusion.parametrizations import Parametrization, Prediction, Velocity, broadcast_level
from genjax.diffusion.processes import Cosine, Level, NoiseProcess, check_process
from genjax.diffusion.samplers import SAMPLERS, Denoise, DPMSolverPP, Heun, Sampler, SamplerName
from genjax.diffusion.score_matching import Denoising, ScoreMatching
from genjax.diffusion.times import TimeDistribution, UniformTimes, stratified
from genjax.diffusion.weightings import Output, Weighting
from genjax.nets import Net, NetSpec, apply_net, check_part, init_net
from genjax.ops import (
    Solver,
    at_least_float32,
    check_examples,
    drop_labels,
    label_of,
    mean_log_weight,
    null_label_inputs,
    resolve_choice,
)
from genjax.ops.couplings import Coupling, draw_noise

PART = "denoiser"
HEUN = Heun()
LOG_SNR_BOUND = 20.0  # networks receive log-SNRs clipped to ±20, which exhausts the digits of float32


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """Diffusion model of real numbers of about unit size.

    Attributes:
      shape: shape of one example, without the batch axis.
      net: network of the denoiser. Its inputs are x (B, *shape) of unit variance, noise levels (B,) in [0, 1], where 0
        is data and 1 is noise, and with classes a one-hot label (B, num_classes + 1), whose last entry is no label. Its
        output is (B, *shape).
      process: noise process.
      parametrization: what the network predicts.
      weighting: training loss of an example at a time.
      times: distribution of the times of training.
      score_matching: estimator of the denoiser's errors in training.
      coupling: rule that pairs noise with data in training; None for independent noise.
      sampler: default sampler.
      grid: default time grid of samplers.
      num_steps: default number of sampling steps.
      num_classes: number of classes, or None for an unconditional model. With classes, batches have ``"label"``, int32
        (B,).
      label_dropout: fraction of the training examples that get the null label, in [0, 1].

    >>> from genjax import nets
    >>> model = Diffusion(shape=(2,), net=nets.DenoisingMLP((16, 16)))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
    >>> model.sample(variables, jax.random.key(1), 7, num_steps=4).shape
    (7, 2)
    """

    shape: ExampleShape
    net: Net
    process: NoiseProcess = field(default_factory=Cosine)
    parametrization: Parametrization = field(default_factory=Velocity)
    weighting: Weighting = field(default_factory=Output)
    times: TimeDistribution = field(default_factory=UniformTimes)
    score_matching: ScoreMatching = field(default_factory=Denoising)
    coupling: Coupling | None = None
    sampler: Sampler = field(default_factory=DPMSolverPP)
    grid: Grid = field(default_factory=LogSNR)
    num_steps: PositiveInt = 50
    num_classes: NumClasses | None = None
    label_dropout: Annotated[float, Interval(ge=0, le=1), Cure("; 0.1 is usual")] = 0.1
    discrete = False  # likelihoods are densities

    def __post_init__(self) -> None:
        check_process(self.process)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label, if the model has classes."""
        return label_condition(self.num_classes, optional=True)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data like ``batch["x"]``.

        Raises:
          ValueError: if the data have another shape, are integers or contain NaN, or the network does not fit them.
        """
        x = check_examples(batch["x"], self.shape)
        arguments = (
            x,
            jnp.zeros(x.shape[0], x.dtype),
            *null_label_inputs(label_of(batch, self.num_classes), self.num_classes, x.shape[0]),
        )
        check_part("net", NetSpec(self.net, arguments, x.shape, "matching x"), key)
        params, state = init_net(self.net, key, *arguments)
        return Variables({PART: params}, {PART: state})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the only loss."""
        return (Objective(name="denoising", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return equation 1, averaged over the batch, with one time for each example.

        A batch may contain ``"noise"`` in the shape of ``"x"``, such as the pairs of ``reflow_pairs``, and with it the
        times of its examples, ``"time"`` (B,), such as the targets of ``distillation_targets``; these belong to their
        labels, none of which is then dropped. The metric ``output_error`` is the unweighted mean squared error of the
        network's output.
        """
        del step
        x = check_examples(batch["x"], self.shape)
        time_key, noise_key, label_key, dropout_key, direction_key = jax.random.split(key, 5)
        label = label_of(batch, self.num_classes)
        if "time" in batch:
            t = batch["time"]
        else:
            t = self.times.quantile(self.process, stratified(time_key, x.shape[0]))
            label = drop_labels(label_key, label, self.num_classes, self.label_dropout)
        noise = batch["noise"] if "noise" in batch else draw_noise(self.coupling, noise_key, x)
        variables = Variables(params, state)
        network = functools.partial(self.network_output, variables, dropout_key, t=t, label=label, train=True)
        truth = Prediction(x, noise)
        estimate = self.score_matching.errors
        errors, new_state = estimate(self.process, self.parametrization, network, direction_key, t, truth)
        loss = jnp.mean(self.weighting(self.process, t, errors))  # equation 1
        return loss, (state | {PART: new_state}, {"output_error": jnp.mean(errors.output) / errors.size})

    def predict(self, variables: Variables, x: Array, t: Array, *, label: Array | int | None = None) -> Prediction:
        """Return the denoiser's estimates of the data and the noise in x_t, (B, *shape), at times () or (B,).

        ``label=None`` stands for no label, which models with classes accept too.
        """
        output, _ = self.network_output(variables, None, x, t, label=label)
        return self.parametrization.predict(self.process, t, x, output)

    def score(self, variables: Variables, x: Array, t: Array, *, label: Array | int | None = None) -> Array:
        """Return the score ∇ log q(x_t), (B, *shape); see ``predict``."""
        return -self.predict(variables, x, t, label=label).noise / broadcast_level(self.process, t, x).sigma

    def denoiser(
        self,
        variables: Variables,
        *,
        label: Array | int | None = None,
        guidance: GuidanceWeight = 1.0,
        guidance_interval: tuple[float, float] | None = None,
        threshold: Percentile | None = None,
    ) -> Denoise:
        """Return the denoiser as a function of x_t and t, with guidance; see ``genjax.diffusion.guidance``.

        Arguments are those of ``sample``. Raises ValueError if the model cannot apply the guidance.
        """
        check_guidance(guidance, guidance_interval, label, self.num_classes, self.label_dropout)
        if guidance == 1.0 or label is None or self.num_classes is None:
            denoise: Denoise = functools.partial(self.predict, variables, label=label)
        else:
            is_active = None if guidance_interval is None else functools.partial(self._is_within, guidance_interval)
            labelled = lambda x, t, label: self.predict(variables, x, t, label=label)  # noqa: E731
            denoise = classifier_free_guidance(labelled, label, self.num_classes, guidance, is_active)
        return denoise if threshold is None else dynamic_thresholding(denoise, self.process, threshold)

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Array | int | None = None,
        num_steps: NumSteps | None = None,
        guidance: GuidanceWeight = 1.0,
        guidance_interval: tuple[float, float] | None = None,
        threshold: Percentile | None = None,
        sampler: SamplerName | Sampler | None = None,
        grid: GridName | Grid | None = None,
    ) -> Array:
        """Draw from the model, (N, *shape).

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.
          label: class of all samples, or int32 (N,); None for any class. Only for models with classes.
          num_steps: number of steps; None for the model's own.
          guidance: weight of classifier-free guidance, at least 0; 1 is no guidance, 0 ignores the label.
          guidance_interval: smallest and largest noise level in [0, 1] with guidance; None for all levels.
          threshold: percentile of dynamic thresholding, such as 99.5, for data in [-1, 1]; None for no thresholding.
          sampler: sampler or its name in ``diffusion.samplers.SAMPLERS``; None for the model's own.
          grid: time grid or its name in ``diffusion.grids.GRIDS``; None for the model's own.

        Raises:
          ValueError: if there is no sampler or grid of this name, or the model cannot apply the guidance.
        """
        options = {"label": label, "num_steps": num_steps, "sampler": sampler, "grid": grid}
        guidance_options = {"guidance": guidance, "guidance_interval": guidance_interval, "threshold": threshold}
        return self.sample_trajectory(variables, key, num_samples, observe=None, **options, **guidance_options)[0]

    def sample_trajectory(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        observe: Callable[[StepInfo], PyTree] | None = lambda info: info.data,
        num_steps: NumSteps | None = None,
        sampler: SamplerName | Sampler | None = None,
        grid: GridName | Grid | None = None,
        **guidance: Any,
    ) -> tuple[Array, PyTree]:
        """Draw samples (N, *shape) and record ``observe`` at every step, by default x̂₀, (num_steps, ...).

        See ``sample`` and ``sample_loop``.
        """
        noise_key, loop_key = jax.random.split(key)
        denoise = self.denoiser(variables, **guidance)
        levels = self.levels(num_steps, grid)
        x = levels.sigma[0] * jax.random.normal(noise_key, (num_samples, *self.shape))
        sampler = resolve_choice("sampler", sampler, SAMPLERS, self.sampler)
        return sample_loop(sampler, self.process, denoise, levels, loop_key, x, observe=observe)

    def log_prob_lower_bound(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: PositiveInt = 8,
        *,
        label: Array | int | None = None,
        num_steps: NumSteps | None = None,
    ) -> Array:
        """Return an unbiased estimate of the variational bound on log p(x), nats, (B,); see ``diffusion.likelihood``.

        It is the mean over ``num_samples`` draws of a level per example. ``num_steps`` is the number of steps of
        ancestral sampling on the model's grid; None stands for infinitely many.
        """
        levels = None if num_steps is None else self.levels(num_steps)
        predict = functools.partial(self.predict, variables, label=label)
        x = check_examples(x, self.shape)
        return likelihood.variational_bound(self.process, predict, key, x, num_samples, levels)

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: PositiveInt,
        *,
        label: Array | int | None = None,
        solver: Solver | None = None,
        trace: Literal["hutchinson", "exact"] = "hutchinson",
    ) -> Array:
        """Return an estimate of log p(x) along the probability flow, nats, (B,); see ``genjax.diffusion.likelihood``.

        It is unbiased up to the solver's tolerance, and NaN if the solver runs out of steps. The trace is estimated
        along ``num_samples`` random directions per example, or computed exactly, with one Jacobian–vector product per
        element of an example. ``solver=None`` stands for ``Solver()``.
        """
        x, predict = check_examples(x, self.shape), functools.partial(self.predict, variables, label=label)
        if trace == "exact":
            return likelihood.flow_log_prob(self.process, predict, solver or Solver(), x, None)[:, 0]

        def log_probs(keys: Array) -> Array:
            directions = jax.vmap(lambda key: jax.random.rademacher(key, x.shape, x.dtype))(keys)
            return likelihood.flow_log_prob(self.process, predict, solver or Solver(), x, directions).T

        return mean_log_weight(log_probs, key, num_samples)

    def encode(
        self,
        variables: Variables,
        x: Array,
        *,
        label: Array | int | None = None,
        num_steps: NumSteps | None = None,
        sampler: Sampler = HEUN,
    ) -> Array:
        """Return the unit-variance noise (B, *shape) that data come from, by a deterministic sampler run backwards.

        ``decode`` inverts it up to discretization errors: O(1/N²) in the number of steps N for Heun's method, O(1/N)
        for ``DDIM()``, the common DDIM inversion.
        """
        levels = jax.tree.map(lambda a: a[::-1], self.levels(num_steps, to_data=False))
        x = levels.alpha[0] * check_examples(x, self.shape)
        denoise, unused_key = self.denoiser(variables, label=label), jax.random.key(0)
        return sample_loop(sampler, self.process, denoise, levels, unused_key, x)[0] / levels.sigma[-1]

    def decode(
        self,
        variables: Variables,
        latent: Array,
        *,
        label: Array | int | None = None,
        num_steps: NumSteps | None = None,
        sampler: Sampler = HEUN,
    ) -> Array:
        """Return the data of unit-variance noise (B, *shape); see ``encode``."""
        levels = self.levels(num_steps)
        x = levels.sigma[0] * check_examples(latent, self.shape)
        denoise, unused_key = self.denoiser(variables, label=label), jax.random.key(0)
        return sample_loop(sampler, self.process, denoise, levels, unused_key, x)[0]

    def levels(
        self, num_steps: NumSteps | None = None, grid: GridName | Grid | None = None, *, to_data: bool = True
    ) -> Level:
        """Return the noise levels of a grid; the number of steps and the grid are by default the model's own."""
        grid = resolve_choice("grid", grid, GRIDS, self.grid)
        return levels(self.process, grid, self.num_steps if num_steps is None else num_steps, to_data=to_data)

    def noise_level(self, t: Array) -> Array:
        """Return the noise level that the network receives, from 0 for data to 1 for noise, linear in the log-SNR."""
        log_snr = jnp.clip(self.process.log_snr(t), -LOG_SNR_BOUND, LOG_SNR_BOUND)
        return 0.5 - 0.5 * log_snr / LOG_SNR_BOUND

    def network_output(
        self,
        variables: Variables,
        key: Array | None,
        x: Array,
        t: Array,
        *,
        label: Array | int | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        """Return the network's output (B, *shape) at x_t, at least float32, and its new state; see ``apply_net``."""
        scaled = self.parametrization.input_scale(broadcast_level(self.process, t, x)) * x
        noise_level = jnp.broadcast_to(self.noise_level(t), (x.shape[0],))
        arguments = (scaled, noise_level, *null_label_inputs(label, self.num_classes, x.shape[0]))
        params, state = variables.params[PART], variables.state[PART]
        output, new_state = apply_net(self.net, params, state, *arguments, key=key, train=train)
        return at_least_float32(output), new_state

    def _is_within(self, interval: tuple[float, float], t: Array) -> Array:
        return (self.noise_level(t) >= interval[0]) & (self.noise_level(t) <= interval[1])
