"""Trained models as folders of programs that run without this library.

>>> from genjax.export import export_run, load
"""

from genjax.export.folder import export_run as export_run
from genjax.export.loader import load as load
