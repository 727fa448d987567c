"""The diffusion model: a noise process, a denoiser for it, and a sampler.

Data become noise by x_t = α x₀ + σ ε. A network learns to say of x_t, at any time, what of it are data and what is
noise, by the square error of one of them or of a sum of both:

    min E_{x₀, ε, t} w(t) ‖q̂(x_t, t) − q(x₀, ε)‖².                                                               (1)

At its best it is the mean of q given x_t, from which the score of the density of x_t follows, and so every way back
from noise to data. With labels, the network learns with and without them, as a share of examples has the null label in
place of its own, so that samples may be guided (``guidance``).

Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239; Yang Song et al. 2021, arXiv:2011.13456; flow matching:
Yaron Lipman et al. 2023, arXiv:2210.02747.

The three nouns are ``genjax.diffusion.process``, ``parametrization`` and ``sampling``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, final

import jax
import jax.numpy as jnp

from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.diffusion import likelihood
from genjax.diffusion.coupling import Coupling, draw_noise
from genjax.diffusion.dpm_solver import DPMSolverPP
from genjax.diffusion.grid import Grid, LogSNR, levels
from genjax.diffusion.guidance import check_guidance, classifier_free, thresholded
from genjax.diffusion.ode import Heun
from genjax.diffusion.parametrization import Parametrization, Prediction, Velocity, level_for
from genjax.diffusion.process import Level, NoiseProcess, check_process
from genjax.diffusion.processes import Cosine
from genjax.diffusion.sampling import Denoise, Moment, Sampler, walk
from genjax.diffusion.score_matching import Denoising, ScoreMatching
from genjax.diffusion.weighting import Output, TimeDistribution, UniformTimes, Weighting, stratified
from genjax.nets import NetSpec, apply_net, check_part, init_net
from genjax.ops import (
    Solver,
    at_least_float32,
    check_at_least,
    check_examples,
    check_num_classes,
    check_shape,
    condition_inputs,
    label_of,
    mean_log_weight,
)

PART = "denoiser"
HEUN = Heun()
LOG_SNR_BOUND = 20.0  # networks see no more: float32 has no digits beyond


@final
@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """Diffusion model of real numbers, of about unit size.

    Attributes:
      shape: of one example, without the batch axis.
      net: the denoiser's network, from x (B, *shape) of unit variance, noise levels (B,) in [0, 1], 0 for data and 1
        for noise, and with classes a one-hot label (B, num_classes + 1), the last for none; to (B, *shape).
      process: from data to noise.
      parametrization: what the network says.
      weighting: loss of an example at a time.
      times: where training looks.
      score_matching: how errors are known in training.
      coupling: which noise belongs to which data in training; None for independent ones.
      sampler: how samples are drawn, unless ``sample`` is told otherwise.
      grid: at which levels, likewise.
      num_steps: in how many steps, likewise.
      num_classes: None, or the number of labels; batches then have ``"label"``, int32 (B,).
      label_dropout: share of examples that training shows without their label, in [0, 1].

    >>> from genjax import nets
    >>> model = Diffusion(shape=(2,), net=nets.DenoisingMLP((16, 16)))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
    >>> model.sample(variables, jax.random.key(1), 7, num_steps=4).shape
    (7, 2)
    """

    shape: tuple[int, ...]
    net: Any
    process: NoiseProcess = field(default_factory=Cosine)
    parametrization: Parametrization = field(default_factory=Velocity)
    weighting: Weighting = field(default_factory=Output)
    times: TimeDistribution = field(default_factory=UniformTimes)
    score_matching: ScoreMatching = field(default_factory=Denoising)
    coupling: Coupling | None = None
    sampler: Sampler = field(default_factory=DPMSolverPP)
    grid: Grid = field(default_factory=LogSNR)
    num_steps: int = 50
    num_classes: int | None = None
    label_dropout: float = 0.1

    def __post_init__(self) -> None:
        check_shape(self.shape)
        check_process(self.process)
        check_at_least("num_steps", self.num_steps, 1)
        check_num_classes(self.num_classes)
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout is {self.label_dropout}, but must be in [0, 1]; 0.1 is usual")

    @property
    def discrete(self) -> bool:
        """False: bounds and estimates are of log-densities."""
        return False

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the model is conditioned on: the label, where it has classes."""
        return label_condition(self.num_classes, optional=True)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``.

        Raises:
          ValueError: for data of another shape, integers or NaN, or a network that does not fit them.
        """
        x = check_examples(batch["x"], self.shape)
        arguments = (x, jnp.zeros(len(x)), *self._conditions(label_of(batch, self.num_classes), len(x)))
        check_part("net", NetSpec(self.net, arguments, x.shape, "matching x"), key)
        params, state = init_net(self.net, key, *arguments)
        return Variables({PART: params}, {PART: state})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss."""
        return (Objective(name="denoising", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Equation 1, averaged over the batch, each example at one time.

        A batch may have its own ``"noise"``, of the shape of ``"x"``: pairs that are to be joined by straighter ways.

        Returns:
          The scalar, and the new state with the metric ``output_error``, the mean squared error of what the network
          says, without weights.
        """
        del step
        x = check_examples(batch["x"], self.shape)
        time_key, noise_key, label_key, dropout_key, direction_key = jax.random.split(key, 5)
        t = self.times.quantile(self.process, stratified(time_key, len(x)))
        noise = batch["noise"] if "noise" in batch else draw_noise(self.coupling, noise_key, x)
        label = self._dropped(label_key, label_of(batch, self.num_classes))
        says = functools.partial(self._output, Variables(params, state), t=t, label=label, key=dropout_key, train=True)
        truth = Prediction(x, noise)
        errors, moved = self.score_matching.errors(self.process, self.parametrization, says, direction_key, t, truth)
        loss = jnp.mean(self.weighting(self.process, t, errors))  # equation 1
        return loss, (state | {PART: moved}, {"output_error": jnp.mean(errors.output) / errors.size})

    def predict(self, variables: Variables, x: Array, t: Array, *, label: Array | int | None = None) -> Prediction:
        """Say what in x_t are data and what is noise.

        Args:
          variables: what ``init`` or training returned.
          x: x_t, (B, *shape).
          t: time, scalar or (B,).
          label: class of all examples, or int32 (B,); None for no label, for models with classes too.
        """
        output, _ = self._output(variables, x, t, label)
        return self.parametrization.predict(self.process, t, x, output)

    def score(self, variables: Variables, x: Array, t: Array, *, label: Array | int | None = None) -> Array:
        """Return ∇ log of the density of x_t, (B, *shape); see ``predict``."""
        return -self.predict(variables, x, t, label=label).noise / level_for(self.process, t, x).sigma

    def denoiser(
        self,
        variables: Variables,
        *,
        label: Array | int | None = None,
        guidance: float = 1.0,
        guidance_interval: tuple[float, float] | None = None,
        threshold: float | None = None,
    ) -> Denoise:
        """Return the denoiser as samplers want it, a function of x_t and t; see ``genjax.diffusion.guidance``.

        Args:
          variables: what ``init`` or training returned.
          label: see ``sample``.
          guidance: see ``sample``.
          guidance_interval: see ``sample``.
          threshold: see ``sample``.

        Raises:
          ValueError: for guidance that the model cannot give.
        """
        check_guidance(guidance, guidance_interval, label, self.num_classes, self.label_dropout)
        if guidance == 1.0 or label is None or self.num_classes is None:
            denoise: Denoise = functools.partial(self.predict, variables, label=label)
        else:
            active = None if guidance_interval is None else functools.partial(self._within, guidance_interval)
            labelled = lambda x, t, label: self.predict(variables, x, t, label=label)  # noqa: E731
            denoise = classifier_free(labelled, label, self.num_classes, guidance, active)
        return denoise if threshold is None else thresholded(denoise, self.process, threshold)

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        num_steps: int | None = None,
        guidance: float = 1.0,
        guidance_interval: tuple[float, float] | None = None,
        threshold: float | None = None,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
    ) -> Array:
        """Draw from the model.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.
          label: class of all samples, or int32 (N,) for each; None for any class. Only for models with classes.
          num_steps: of the sampler; None for the model's own.
          guidance: weight of classifier-free guidance, 0 or more; 1 for none, and 0 for no label.
          guidance_interval: least and greatest noise level in [0, 1] at which there is guidance; None for all.
          threshold: percentile of dynamic thresholding for data in [-1, 1], such as 99.5; None for none.
          sampler: None for the model's own.
          grid: None for the model's own.

        Returns:
          Samples (N, *shape).
        """
        options = {"label": label, "num_steps": num_steps, "sampler": sampler, "grid": grid}
        guided = {"guidance": guidance, "guidance_interval": guidance_interval, "threshold": threshold}
        return self.sample_trajectory(variables, key, num_samples, observe=None, **options, **guided)[0]

    def sample_trajectory(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        observe: Callable[[Moment], PyTree] | None = lambda moment: moment.data,
        num_steps: int | None = None,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
        **guidance: Any,
    ) -> tuple[Array, PyTree]:
        """Draw from the model, and keep what ``observe`` makes of every step, (num_steps, ...); see ``sample``.

        By default that is x̂₀, what the denoiser takes for the data.
        """
        check_at_least("num_samples", num_samples, 1)
        noise_key, walk_key = jax.random.split(key)
        denoise = self.denoiser(variables, **guidance)
        steps = self.levels(num_steps, grid)
        x = steps.sigma[0] * jax.random.normal(noise_key, (num_samples, *self.shape))
        return walk(sampler or self.sampler, self.process, denoise, steps, walk_key, x, observe=observe)

    def log_prob_lower_bound(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: int = 8,
        *,
        label: Array | int | None = None,
        num_steps: int | None = None,
    ) -> Array:
        """Unbiased estimate of the variational bound on log p(x), nats, (B,); see ``genjax.diffusion.likelihood``.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          x: (B, *shape).
          num_samples: draws of a level for each example.
          label: see ``predict``.
          num_steps: of ``Ancestral`` sampling on the model's grid; None for the bound of infinitely many.
        """
        steps = None if num_steps is None else self.levels(num_steps)
        predict = functools.partial(self.predict, variables, label=label)
        return likelihood.bound(self.process, predict, key, check_examples(x, self.shape), num_samples, steps)

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        solver: Solver | None = None,
        trace: Literal["hutchinson", "exact"] = "hutchinson",
    ) -> Array:
        """Estimate of log p(x) along the probability-flow equation, nats, (B,); see ``genjax.diffusion.likelihood``.

        Unbiased but for the solver's tolerance; NaN where it has not enough steps.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          x: (B, *shape).
          num_samples: random directions for each example.
          label: see ``predict``.
          solver: tolerances and steps; None for the usual ones.
          trace: "exact" has no directions, and takes the network as often as an example has elements.
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
        num_steps: int | None = None,
        sampler: Sampler = HEUN,
    ) -> Array:
        """Noise that data come from (B, *shape), of unit variance: a deterministic sampler, taken backwards.

        ``decode`` leads back but for errors of the steps: with N they are of order 1/N² for Heun's method, and 1/N for
        ``DDIM()``, the inversion that is in use elsewhere.
        """
        steps = self.levels(num_steps, to_data=False)
        upwards = jax.tree.map(lambda a: a[::-1], steps)
        start = upwards.alpha[0] * check_examples(x, self.shape)
        denoise, unused = self.denoiser(variables, label=label), jax.random.key(0)
        return walk(sampler, self.process, denoise, upwards, unused, start)[0] / upwards.sigma[-1]

    def decode(
        self,
        variables: Variables,
        latent: Array,
        *,
        label: Array | int | None = None,
        num_steps: int | None = None,
        sampler: Sampler = HEUN,
    ) -> Array:
        """Data of noise (B, *shape) of unit variance; see ``encode``."""
        steps = self.levels(num_steps)
        start = steps.sigma[0] * check_examples(latent, self.shape)
        denoise, unused = self.denoiser(variables, label=label), jax.random.key(0)
        return walk(sampler, self.process, denoise, steps, unused, start)[0]

    def levels(self, num_steps: int | None = None, grid: Grid | None = None, *, to_data: bool = True) -> Level:
        """Return the levels of a grid, by default the model's own, in as many steps as the model's, or others."""
        steps = self.num_steps if num_steps is None else num_steps
        return levels(self.process, grid or self.grid, steps, to_data=to_data)

    def noise_level(self, t: Array) -> Array:
        """Return how noisy x_t is as the network is told, from 0 for data to 1 for noise: linear in the log-SNR."""
        log_snr = jnp.clip(self.process.log_snr(t), -LOG_SNR_BOUND, LOG_SNR_BOUND)
        return 0.5 - 0.5 * log_snr / LOG_SNR_BOUND

    def _output(
        self,
        variables: Variables,
        x: Array,
        t: Array,
        label: Array | int | None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        """What the network says, at least float32 (B, *shape), and its new state."""
        scaled = self.parametrization.input_scale(level_for(self.process, t, x)) * x
        noise_level = jnp.broadcast_to(self.noise_level(t), (len(x),))
        arguments = (scaled, noise_level, *self._conditions(label, len(x)))
        params, state = variables.params[PART], variables.state[PART]
        output, moved = apply_net(self.net, params, state, *arguments, key=key, train=train)
        return at_least_float32(output), moved

    def _within(self, interval: tuple[float, float], t: Array) -> Array:
        return (self.noise_level(t) >= interval[0]) & (self.noise_level(t) <= interval[1])

    def _conditions(self, label: Array | int | None, num_rows: int) -> tuple[Array, ...]:
        """The one-hot label, of one class more than there are, for none; nothing for models without classes."""
        if self.num_classes is None:
            return condition_inputs(label, None, num_rows)
        return condition_inputs(self.num_classes if label is None else label, self.num_classes + 1, num_rows)

    def _dropped(self, key: Array, label: Array | None) -> Array | None:
        if label is None or self.num_classes is None:
            return label
        return jnp.where(jax.random.bernoulli(key, self.label_dropout, label.shape), self.num_classes, label)
