"""Training rules of energy models, whose losses are added, and penalties."""

from genjax.energy.rules.base import Penalty as Penalty
from genjax.energy.rules.base import Rule as Rule
from genjax.energy.rules.base import RuleOutput as RuleOutput
from genjax.energy.rules.classification import Classification as Classification
from genjax.energy.rules.contrastive_divergence import Buffer as Buffer
from genjax.energy.rules.contrastive_divergence import ContrastiveDivergence as ContrastiveDivergence
from genjax.energy.rules.flow_matching import FlowMatching as FlowMatching
from genjax.energy.rules.noise_contrastive import NoiseContrastive as NoiseContrastive
from genjax.energy.rules.penalties import EnergyMagnitude as EnergyMagnitude
from genjax.energy.rules.penalties import GradientPenalty as GradientPenalty
from genjax.energy.rules.score_matching import DenoisingScoreMatching as DenoisingScoreMatching
from genjax.energy.rules.score_matching import SlicedScoreMatching as SlicedScoreMatching
