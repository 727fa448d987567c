"""Markov chain Monte Carlo kernels, and runs of chains with convergence diagnostics."""

from genjax.energy.kernels.base import Kernel as Kernel
from genjax.energy.kernels.base import KernelInfo as KernelInfo
from genjax.energy.kernels.base import KernelState as KernelState
from genjax.energy.kernels.chains import Chains as Chains
from genjax.energy.kernels.chains import run_chains as run_chains
from genjax.energy.kernels.gibbs_with_gradients import GibbsWithGradients as GibbsWithGradients
from genjax.energy.kernels.hamiltonian import HMC as HMC
from genjax.energy.kernels.hamiltonian import NUTS as NUTS
from genjax.energy.kernels.langevin import MALA as MALA
from genjax.energy.kernels.langevin import AnnealedLangevin as AnnealedLangevin
from genjax.energy.kernels.langevin import Langevin as Langevin
from genjax.energy.kernels.random_walk import RandomWalk as RandomWalk
from genjax.energy.kernels.tempering import ParallelTempering as ParallelTempering
