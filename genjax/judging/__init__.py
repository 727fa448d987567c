"""Human evaluation: a page that asks raters to compare samples, and scores of their answers.

>>> from genjax.judging import bradley_terry, krippendorff_alpha, share_interval
"""

from genjax.judging.scores import bradley_terry as bradley_terry
from genjax.judging.scores import krippendorff_alpha as krippendorff_alpha
from genjax.judging.scores import share_interval as share_interval
