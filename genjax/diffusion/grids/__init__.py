"""Time grids: where a sampler evaluates the denoiser. Every grid is a ``Grid``.

``GRIDS`` holds grids with their usual settings by name, as the command line takes them; a new grid needs a row there
and its name in ``GridName``.

>>> by_name("karras")
Karras(rho=7.0)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from genjax.diffusion.grids.base import Grid, levels
from genjax.diffusion.grids.custom import Custom
from genjax.diffusion.grids.spaced import Karras, LogSNR, Uniform
from genjax.ops import check_choice

GridName = Literal["uniform", "log-snr", "karras"]

GRIDS: Mapping[str, Grid] = {"uniform": Uniform(), "log-snr": LogSNR(), "karras": Karras()}


def by_name(name: str) -> Grid:
    """Return a grid of ``GRIDS``.

    Raises:
      ValueError: if there is no grid of this name.
    """
    check_choice("grid", name, tuple(GRIDS))
    return GRIDS[name]


def as_grid(grid: Grid | str | None, default: Grid) -> Grid:
    """Return a grid passed as a value or by name, or the default for None."""
    if grid is None:
        return default
    return by_name(grid) if isinstance(grid, str) else grid


__all__ = ["GRIDS", "Custom", "Grid", "GridName", "Karras", "LogSNR", "Uniform", "as_grid", "by_name", "levels"]
