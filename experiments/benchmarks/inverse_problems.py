"""Inverse problems by posterior guidance: errors against exact answers on Gaussian data, and restored digits.

    python experiments/benchmarks/inverse_problems.py [--json]
    genjax train experiments/diffusion_digits.py --workdir RUN
    python experiments/benchmarks/inverse_problems.py --run RUN [--json]

Without ``--run``: images of 4 × 4 pixels from a Gaussian with a smooth covariance, and the exact denoiser of a
variance-preserving process, so that all errors are those of guidance and of the sampler. Half of the image is known, or
means over 2 × 2 pixels, with noise of standard deviation 0.1. A cell has the error of the mean of the draws in standard
deviations of the exact posterior (root mean square over pixels) and the relative error of their covariance (Frobenius
norm); the row of exact draws shows what their number leaves. Inpainting by replacement takes the measurement as exact,
and is compared with that posterior on the unknown pixels.

With ``--run``: the test images of digits (8 × 8 pixels), from their means over 4 × 4 pixels, which leave 2 × 2, or from
their upper half. PSNR and SSIM (window of 7 pixels) of the restored images, and the share that the project's classifier
recognizes. Noise scales and step sizes are those with the highest PSNR on the validation split at 20 steps. Draws have
a lower PSNR than their mean, which is the best guess but no digit; both are shown. Nearest neighbours are the training
images with the least squared error in the measured pixels. ``--repeats`` is the number of draws.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from report import arguments, machine

from genjax import diffusion, load_run
from genjax.core import Variables, step_key
from genjax.diffusion import operators, posterior, samplers
from genjax.metrics import extract, feature_network, psnr, ssim

Method = posterior.Method
STEPS = 10, 20, 50, 200
DIGIT_STEPS = 20, 50
SIDE, NOISE = 4, 0.1  # of Gaussian images
NUM_DRAWS = 2_000
WINDOW = 7  # of SSIM
GUIDES: Mapping[str, Callable[[Any], Method]] = {
    "DPS": posterior.DPS,
    "PiGDM": lambda _: posterior.PiGDM(0.75),  # standard deviation of digits on [-1, 1]
    "moment matching": lambda _: posterior.MomentMatching(3),
}
NOISES, STEP_SIZES = (0.001, 0.003, 0.01, 0.03), (10.0, 30.0, 100.0, 300.0)


class Gaussian:
    """N(μ, S) of images, and the network that predicts v of its exact denoiser."""

    def __init__(self) -> None:
        places = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), axis=-1).reshape(-1, 2)
        distances = np.square(places[:, None] - places[None]).sum(axis=-1)
        self.mean = np.linspace(-0.5, 0.5, SIDE**2)
        self.covariance = 0.9 * np.exp(-distances / (2 * 1.5**2)) + 0.1 * np.eye(SIDE**2)
        self.variances, self.axes = np.linalg.eigh(self.covariance)

    def init(self, key: Any, *inputs: Any) -> dict[str, Any]:
        """Return no parameters."""
        del key, inputs
        return {"params": {}}

    def apply(self, variables: Any, x: jax.Array, level: jax.Array) -> jax.Array:
        """Return v, (B, H, W, 1)."""
        del variables
        log_snr = 20 - 40 * level[:, None]
        alpha, sigma = jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))
        mean, axes = jnp.asarray(self.mean, x.dtype)[None], jnp.asarray(self.axes, x.dtype)
        variances = jnp.asarray(self.variances, x.dtype)[None]
        scaled = (x.reshape(len(x), -1) - alpha * mean) @ axes / (alpha**2 * variances + sigma**2)
        data, noise = mean + alpha * (scaled * variances) @ axes.T, sigma * scaled @ axes.T
        return (alpha * noise - sigma * data).reshape(x.shape)

    def conditional(self, matrix: np.ndarray, y: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and covariance of x given y."""
        system = matrix @ self.covariance @ matrix.T + noise**2 * np.eye(len(matrix))
        gain = self.covariance @ matrix.T @ np.linalg.inv(system)
        return self.mean + gain @ (y - matrix @ self.mean), self.covariance - gain @ matrix @ self.covariance


def moment_errors(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> tuple[float, float, float]:
    """Return the errors of the mean and covariance of draws (N, D), and the ratio of their total variance."""
    deviations, empirical = np.sqrt(np.diag(covariance)), np.cov(x.T)
    error = np.sqrt(np.mean(np.square((x.mean(axis=0) - mean) / deviations)))
    difference = np.linalg.norm(empirical - covariance) / np.linalg.norm(covariance)
    return float(error), float(difference), float(np.trace(empirical) / np.trace(covariance))


def gaussian_rows(as_json: bool) -> None:
    """Print the table on Gaussian data."""
    data, key = Gaussian(), jax.random.key(0)
    model = diffusion.Diffusion(shape=(SIDE, SIDE, 1), net=data, process=diffusion.processes.VariancePreserving())
    variables, rng = Variables({"denoiser": {}}, {"denoiser": {}}), np.random.default_rng(0)
    known = np.zeros((SIDE, SIDE, 1), bool)
    known[: SIDE // 2] = True
    truth = rng.multivariate_normal(data.mean, data.covariance).reshape(1, SIDE, SIDE, 1).astype(np.float32)
    problems = {"half known": operators.Mask(jnp.asarray(known)), "means of 2 x 2": operators.AveragePool(2)}
    if not as_json:
        print(f"{'':<44}" + "".join(f"{steps:>8} steps" for steps in STEPS))
    for problem, operator in problems.items():
        y = operator(jnp.asarray(truth))
        y = operator.fill(y + NOISE * jnp.asarray(rng.normal(size=y.shape), jnp.float32))
        images = jnp.eye(SIDE**2).reshape(-1, SIDE, SIDE, 1)
        matrix = np.asarray(operator(images)).reshape(SIDE**2, -1).T
        measured = np.abs(matrix).sum(axis=1) > 0
        matrix, values = matrix[measured], np.asarray(y).ravel()[measured]
        exact = data.conditional(matrix, values, NOISE)
        ys = jnp.broadcast_to(y, (NUM_DRAWS, *y.shape[1:]))
        draws = np.random.default_rng(1).multivariate_normal(*exact, NUM_DRAWS)
        print_cells(problem, "exact draws", [moment_errors(draws, *exact)] * len(STEPS), as_json)
        guides = {f"DPS, step size {size:g}": posterior.DPS(size) for size in (5.0, 20.0)}
        guides |= {"PiGDM": posterior.PiGDM(), "moment matching": posterior.MomentMatching(len(matrix))}
        for name, method in guides.items():
            for sampler in (samplers.Ancestral(), samplers.Heun()):
                cells = []
                for steps in STEPS:
                    options = {"noise_scale": NOISE, "method": method, "num_steps": steps, "sampler": sampler}
                    draw = jax.jit(functools.partial(diffusion.restore, model, operator=operator, **options))
                    x = np.asarray(draw(variables, key, ys)).reshape(NUM_DRAWS, -1)
                    cells.append(moment_errors(x, *exact))
                print_cells(problem, f"{name}, {type(sampler).__name__.lower()}", cells, as_json)
        if problem == "half known":
            mean, covariance = data.conditional(matrix, values, 0.0)
            unknown = ~known.ravel()
            exact = mean[unknown], covariance[np.ix_(unknown, unknown)]
            for repeats in (1, 10):
                cells = []
                for steps in STEPS:
                    draw = jax.jit(functools.partial(model.impute, num_resamplings=repeats, num_steps=steps))
                    x = np.asarray(draw(variables, key, ys, jnp.asarray(known))).reshape(NUM_DRAWS, -1)
                    cells.append(moment_errors(x[:, unknown], *exact))
                name = "replacement" if repeats == 1 else f"replacement, {repeats} resamplings"
                print_cells(problem, f"{name}, ancestral", cells, as_json)


def print_cells(problem: str, name: str, cells: list[tuple[float, float, float]], as_json: bool) -> None:
    """Print a row of errors by number of steps."""
    if as_json:
        names = ("mean", "covariance", "variance_ratio")
        entries = {steps: dict(zip(names, cell, strict=True)) for steps, cell in zip(STEPS, cells, strict=True)}
        print(json.dumps({"problem": problem, "method": name, "errors": entries, "machine": machine()}), flush=True)
        return
    texts = (f"{mean:.3f} {covariance:.2f}" for mean, covariance, _ in cells)
    print(f"{problem + ': ' + name:<46}" + "".join(f"{text:>14}" for text in texts), flush=True)


class Digits:
    """Digits, a trained model, and scores of restored images."""

    def __init__(self, folder: str) -> None:
        self.run, self.network = load_run(folder), feature_network("classifier:digits")
        self.model: Any = self.run.model
        self.low, self.high = self.run.experiment.image_range()
        splits = self.run.experiment.data.splits
        self.images = {}
        self.labels = {}
        for split in ("train", "validation", "test"):
            rows = splits[split].take(np.arange(len(splits[split])))
            self.images[split] = jnp.asarray(rows["x"], jnp.float32) / 16
            self.labels[split] = np.asarray(rows["label"])

    def values(self, images: jax.Array) -> jax.Array:
        """Return images in [0, 1] on the scale of the model."""
        return self.low + (self.high - self.low) * images

    def scores(self, images: jax.Array, split: str) -> dict[str, float]:
        """Return PSNR, SSIM and accuracy of images in [0, 1]."""
        truth, images = self.images[split], jnp.clip(images, 0, 1)
        logits = extract(self.network, [images], len(images)).logits
        assert logits is not None
        errors = jnp.mean(jnp.square(truth - images), axis=(1, 2, 3))
        finite = jnp.where(errors > 0, psnr(truth, images, data_range=1.0), 60.0)  # of equal images
        return {
            "psnr": float(jnp.mean(finite)),
            "ssim": float(jnp.mean(ssim(truth, images, data_range=1.0, window_size=WINDOW))),
            "accuracy": float(np.mean(np.argmax(np.asarray(logits), axis=-1) == self.labels[split])),
        }

    def nearest(self, operator: operators.Operator, split: str) -> jax.Array:
        """Return the training images that are nearest in the measured pixels."""
        train, queries = (operator(self.images[name]).reshape(len(self.images[name]), -1) for name in ("train", split))
        distances = jnp.sum(jnp.square(queries[:, None] - train[None]), axis=-1)
        return self.images["train"][jnp.argmin(distances, axis=1)]

    @functools.cached_property
    def draw(self) -> Callable[..., jax.Array]:
        """Compiled function that draws images on the scale of the model given measurements."""

        def draw(
            key: jax.Array, y: jax.Array, noise: jax.Array, step_size: jax.Array, operator: Any, name: str, steps: int
        ) -> jax.Array:
            method, noise_scale = GUIDES[name](step_size), (self.high - self.low) * noise
            options: dict[str, Any] = {"noise_scale": noise_scale, "method": method, "num_steps": steps}
            return diffusion.restore(self.model, self.run.replica(), key, y, operator, **options)

        return jax.jit(draw, static_argnums=(4, 5, 6))

    def restored(
        self, key: jax.Array, operator: operators.Operator, split: str, name: str, steps: int, setting: float
    ) -> jax.Array:
        """Return images in [0, 1] that a method draws; the setting is a step size of DPS, or else a noise scale."""
        noise, step_size = (0.0, setting) if name == "DPS" else (setting, 1.0)
        x = self.draw(key, operator(self.values(self.images[split])), noise, step_size, operator, name, steps)
        return jnp.asarray(self.run.experiment.to_display(x))

    def chosen(self, operator: operators.Operator, name: str) -> float:
        """Return the setting with the highest PSNR on the validation split."""
        key, settings = jax.random.key(1), STEP_SIZES if name == "DPS" else NOISES

        def score(setting: float) -> float:
            return self.scores(self.restored(key, operator, "validation", name, 20, setting), "validation")["psnr"]

        return max(settings, key=score)


def digits_rows(folder: str, only: str, repeats: int, as_json: bool) -> None:
    """Print the table on digits: the problems whose name contains ``only``."""
    digits = Digits(folder)
    known = jnp.arange(8)[:, None, None] < 4
    problems = {
        "4x (2 x 2 pixels)": operators.AveragePool(4),
        "upper half known": operators.Mask(jnp.broadcast_to(known, (8, 8, 1))),
    }
    truth = digits.images["test"]
    print_scores("", "test images themselves", [digits.scores(truth, "test")], 0.0, as_json)
    for problem, operator in problems.items():
        if only not in problem:
            continue
        if isinstance(operator, operators.AveragePool):
            bicubic = jax.image.resize(operator(truth), truth.shape, "bicubic")
            print_scores(problem, "bicubic", [digits.scores(bicubic, "test")], 0.0, as_json)
        nearest = digits.nearest(operator, "test")
        print_scores(problem, "nearest neighbour", [digits.scores(nearest, "test")], 0.0, as_json)
        if isinstance(operator, operators.Mask):
            for resamplings in (1, 10):
                started = time.perf_counter()
                settings = {"num_resamplings": resamplings, "num_steps": DIGIT_STEPS[0]}
                impute = jax.jit(functools.partial(digits.model.impute, **settings))
                draws = [
                    impute(digits.run.replica(), step_key(jax.random.key(0), draw), digits.values(truth), known)
                    for draw in range(repeats)
                ]
                images = [jnp.asarray(digits.run.experiment.to_display(x)) for x in draws]
                scores = [digits.scores(image, "test") for image in images]
                seconds = time.perf_counter() - started
                print_scores(
                    problem, f"replacement, {DIGIT_STEPS[0]} steps, each {resamplings} times", scores, seconds, as_json
                )

        for name in GUIDES:
            setting = digits.chosen(operator, name)
            shown = f"{name}, {'step size' if name == 'DPS' else 'noise'} {setting:g}"
            for steps in DIGIT_STEPS:
                started = time.perf_counter()
                keys = [step_key(jax.random.key(0), draw) for draw in range(repeats)]
                draws = [digits.restored(key, operator, "test", name, steps, setting) for key in keys]
                seconds = time.perf_counter() - started
                scores = [digits.scores(draw, "test") for draw in draws]
                print_scores(problem, f"{shown}, {steps} steps", scores, seconds, as_json)
                mean = digits.scores(jnp.mean(jnp.stack(draws), axis=0), "test")
                print_scores(problem, f"{shown}, {steps} steps, mean of {repeats}", [mean], seconds, as_json)


def print_scores(problem: str, name: str, scores: list[dict[str, float]], seconds: float, as_json: bool) -> None:
    """Print a row of scores, mean ± sd over draws."""
    if as_json:
        entries = {metric: [score[metric] for score in scores] for metric in scores[0]}
        print(json.dumps({"problem": problem, "method": name, **entries, "seconds": round(seconds, 1)}), flush=True)
        return
    cells = []
    for metric, factor, unit in (("psnr", 1, " dB"), ("ssim", 1, ""), ("accuracy", 100, " %")):
        values = factor * np.array([score[metric] for score in scores])
        spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
        cells.append(f"{values.mean():.2f}{spread}{unit}")
    print(f"{problem:<20}{name:<52}" + "".join(f"{cell:>19}" for cell in cells) + f"{seconds:>8.0f} s", flush=True)


def main() -> None:
    """Run the benchmark and print its rows."""
    more = {
        "run": {"default": "", "help": "run folder of experiments/diffusion_digits.py"},
        "only": {"default": "", "help": "run only problems on digits whose name contains this"},
    }
    options = arguments(__doc__ or "", repeats=2, **more)
    if options.run:
        digits_rows(options.run, options.only, options.repeats, options.json)
    else:
        gaussian_rows(options.json)
    if not options.json:
        print(machine())


if __name__ == "__main__":
    main()
