"""GPUs that programs are compiled for without a device: what the compiler has to know of each.

The numbers are those that CUDA reports of the device, from NVIDIA's data sheets and the tables of compute capabilities
in the CUDA C++ programming guide. They set shapes of kernels, and hardly the memory of a program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Kernels are neither timed, for which there is no device, nor searched.
COMPILER_OPTIONS: Mapping[str, Any] = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
_AMPERE = {"major": 8, "cores": 108, "per_core": 64, "shared": 167_936, "l2": 41_943_040, "clock": 1.41}
_HOPPER = {"major": 9, "cores": 132, "per_core": 128, "shared": 233_472, "l2": 52_428_800, "clock": 1.98}
_GPUS: Mapping[str, Mapping[str, Any]] = {
    "a100": _AMPERE | {"memory": 85_899_345_920, "bandwidth": 2_039_000_000_000, "name": "NVIDIA A100-SXM4-80GB"},
    "h100": _HOPPER | {"memory": 85_899_345_920, "bandwidth": 3_350_000_000_000, "name": "NVIDIA H100 80GB HBM3"},
    "h200": _HOPPER | {"memory": 151_397_597_184, "bandwidth": 4_800_000_000_000, "name": "NVIDIA H200"},
}
GPUS = tuple(_GPUS)


def target_config(name: str) -> str:
    """Return the description of a GPU in the compiler's own text format."""
    gpu = _GPUS[name]
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {gpu["shared"]}
  shared_memory_per_block_optin: {gpu["shared"] - 1024}
  threads_per_core_limit: 2048
  core_count: {gpu["cores"]}
  fpus_per_core: {gpu["per_core"]}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {gpu["bandwidth"]}
  l2_cache_size: {gpu["l2"]}
  clock_rate_ghz: {gpu["clock"]}
  device_memory_size: {gpu["memory"]}
  cuda_compute_capability {{ major: {gpu["major"]} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
runtime_version {{ major: 13 minor: 0 }}
device_description_str: "{gpu["name"]}"
"""
