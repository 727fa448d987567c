"""Speed and memory of a sampler: compilation, latency of one sample, throughput and memory of a batch."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from genjax.arguments import PositiveInt, check_arguments
from genjax.compilation import compiler_options
from genjax.core import Array, GenerativeModel, Variables, stream_key
from genjax.evaluation.context import Evaluation
from genjax.evaluation.samples import source_conditions
from genjax.metrics import Result, unavailable

MAX_SECONDS = 20.0  # after which a measurement is not repeated further


def speed(evaluation: Evaluation, *, num_samples: int, repeats: int) -> list[Result]:
    """Return latency, throughput, time of compilation and memory of the first replica's sampler, on one device."""
    model, variables, key = evaluation.model, evaluation.replica(0), stream_key(evaluation.key, "speed")
    one, _, _ = compiled_sampler(model, variables, key, 1, conditions=_conditions(evaluation, 1))
    conditions = _conditions(evaluation, num_samples)
    many, compile_time, memory = compiled_sampler(model, variables, key, num_samples, conditions=conditions)
    of_one, of_many = durations(one, repeats), durations(many, repeats)
    protocol = {"samples": num_samples, "device": jax.devices()[0].device_kind}
    latency, seconds = 1e3 * statistics.median(of_one), statistics.median(of_many)
    return [
        Result(name="latency", value=latency, protocol=protocol | {"samples": 1, "median of": len(of_one)}),
        Result(name="throughput", value=num_samples / seconds, protocol=protocol | {"median of": len(of_many)}),
        Result(name="compile_time", value=compile_time, protocol=protocol),
        unavailable("memory", "the compiler does not tell it")
        if memory is None
        else Result(name="memory", value=memory / 1e6, protocol=protocol),
    ]


def _conditions(evaluation: Evaluation, num_samples: int) -> dict[str, Any]:
    """Return the conditions of the first examples of the split, repeated as often as needed."""
    rows = np.arange(num_samples) % len(evaluation.source)
    return source_conditions(evaluation.model, evaluation.source, rows, evaluation.preprocess, evaluation.key)


@check_arguments
def compiled_sampler(
    model: GenerativeModel, variables: Variables, key: Array, num_samples: PositiveInt, *, conditions: dict[str, Any]
) -> tuple[Callable[[], Array], float, int | None]:
    """Return a function that draws ``num_samples`` samples, the seconds that tracing and compilation took, and bytes.

    The bytes are those of arguments, temporary arrays and results; None if the compiler does not tell. No compiled
    program is read from a cache or written to one.
    """

    def sample(variables: Variables, key: Array, conditions: dict[str, Any]) -> Array:
        return model.sample(variables, key, num_samples, **conditions)

    with _without_cache():
        started = time.perf_counter()
        program = jax.jit(sample, compiler_options=compiler_options()).lower(variables, key, conditions).compile()
        seconds = time.perf_counter() - started
    sizes = program.memory_analysis()
    size = None
    if sizes is not None:
        size = sizes.argument_size_in_bytes + sizes.temp_size_in_bytes + sizes.output_size_in_bytes
    return lambda: jax.block_until_ready(program(variables, key, conditions)), seconds, size


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """Disable the persistent cache of compiled programs."""
    config: Any = jax.config  # its options are attributes unknown to type checkers
    was_enabled = config.jax_enable_compilation_cache
    config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # which remembers whether it is used
    try:
        yield
    finally:
        config.update("jax_enable_compilation_cache", was_enabled)
        compilation_cache.reset_cache()


@check_arguments
def durations(function: Callable[[], Any], repeats: PositiveInt, *, max_seconds: float = MAX_SECONDS) -> list[float]:
    """Return the durations of ``repeats`` calls after one that is not counted, or fewer once they take ``max_seconds``.

    >>> calls = []
    >>> len(durations(lambda: calls.append(0), 3)), len(calls)
    (3, 4)
    """
    function()
    seconds: list[float] = []
    while len(seconds) < repeats and (not seconds or sum(seconds) < max_seconds):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return seconds
