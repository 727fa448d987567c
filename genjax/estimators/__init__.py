"""Models as scikit-learn estimators: NumPy in, NumPy out, in pipelines, grid searches and cross-validation.

>>> from genjax.estimators import DBN, RBM

They are not part of ``import genjax``, which leaves scikit-learn alone until it is needed.
"""

from genjax.estimators.dbn import DBN
from genjax.estimators.rbm import RBM

__all__ = ["DBN", "RBM"]
