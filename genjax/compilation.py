"""How the library compiles its own programs: kernels that use every core of a CPU, and the persistent cache.

XLA:CPU gives convolutions to YNNPACK, which computes each on one thread, however many cores there are. That is right
with one device for each core. With fewer devices, Eigen's kernels, which use all cores, are faster, and an option of
the compiler returns convolutions to them. With ``genjax train --devices 2``, a U-Net on two cores still trains 1.1 and
samples 1.2 times as fast as on one device (AMD EPYC, jax 0.10.2; more cores are not measured).
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax

Result = TypeVar("Result")

# What YNNPACK computes: the default without LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION. Training steps on one device of
# two cores (AMD EPYC, jax 0.10.2), in ms with the default and with this option:
#
#   U-Net 630, 418   gated PixelCNN 399, 339   Glow 161, 143   DCGAN 5.2, 5.0
#   dense GAN 5.1, 5.0   dense VAE 0.52, 0.51   GPT 33.9, 33.3
#
# Without products the dense GAN takes 5.7 ms; without reductions the U-Net takes 631 ms and GPT 35.8 ms.
OPTION = "xla_cpu_experimental_ynn_fusion_type"
WITHOUT_CONVOLUTIONS = {OPTION: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"}


def jit(function: Callable[..., Result], **settings: Any) -> Callable[..., Result]:
    """Return ``jax.jit(function, **settings)`` with ``compiler_options``, which are chosen at the first call.

    For programs that the library runs itself: JAX rejects compiler options inside other compiled functions.
    """

    @functools.cache
    def compiled() -> Callable[..., Result]:
        return jax.jit(function, compiler_options=compiler_options(), **settings)

    def call(*args: Any, **kwargs: Any) -> Result:
        return compiled()(*args, **kwargs)

    return call


def compiler_options() -> dict[str, str]:
    """Return the options of a program that runs on all devices of this process.

    They are those of the compiler, unless the devices are a CPU with more cores than devices. ``XLA_FLAGS`` that name
    the option keep what they say; ``--xla_cpu_experimental_ynn_fusion_type=+individual_convolution`` is the default.
    """
    if jax.default_backend() != "cpu" or jax.local_device_count() >= _num_cores():
        return {}
    if OPTION in os.environ.get("XLA_FLAGS", "") or not _is_known():
        return {}
    return WITHOUT_CONVOLUTIONS


def divide_cpu(num_devices: int) -> None:
    """Let JAX see the CPU as several devices, over which batches are split; call it before anything is computed.

    Raises:
      ValueError: if JAX has started already, or computes on no CPU.
    """
    with contextlib.suppress(RuntimeError):  # because it has started
        jax.config.update("jax_num_cpu_devices", num_devices)
    if jax.default_backend() != "cpu":
        raise ValueError(f"devices is {num_devices}, but only a CPU can be divided, not a {jax.default_backend()}")
    if jax.local_device_count() != num_devices:
        raise ValueError(
            f"devices is {num_devices}, but JAX has started with {jax.local_device_count()}; divide the CPU before "
            "anything is computed"
        )


def _num_cores() -> int:
    """Return the number of cores that this process may use, which is the number of XLA's threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _is_known() -> bool:
    """Whether this version of the compiler has the option, which is experimental."""
    try:
        jax.jit(lambda: 0, compiler_options=WITHOUT_CONVOLUTIONS)()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def enable_compilation_cache() -> None:
    """Cache compiled programs in the user's cache folder, unless JAX has another one or its cache is disabled."""
    config: Any = jax.config  # its options are attributes unknown to type checkers
    if config.jax_compilation_cache_dir is not None or not config.jax_enable_compilation_cache:
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genjax" / "xla"
    config.update("jax_compilation_cache_dir", str(cache))
    # Small programs too: a start compiles many of them.
    config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
