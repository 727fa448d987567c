"""Races: models of several families trained on data of one's own for a short time, of which the better ones go on."""

from genjax.racing.halving import Entrant as Entrant
from genjax.racing.halving import Rung as Rung
from genjax.racing.halving import successive_halving as successive_halving
