"""Models as scikit-learn estimators: NumPy in, NumPy out, in pipelines, grid searches and cross-validation.

>>> from genjax.estimators import DBN, RBM

``import genjax`` does not import this package, so that scikit-learn is loaded only where it is needed.
"""

from genjax.estimators.dbn import DBN
from genjax.estimators.rbm import RBM

__all__ = ["DBN", "RBM"]
