"""An HTTP server of exported models, which needs their export folder and no model code.

>>> from genjax.serving import serve
"""

from genjax.serving.server import serve as serve
