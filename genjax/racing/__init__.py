"""Races: train models of several families briefly on your own data, and go on with the better ones."""

from genjax.racing.halving import Entrant as Entrant
from genjax.racing.halving import RaceError as RaceError
from genjax.racing.halving import Rung as Rung
from genjax.racing.halving import successive_halving as successive_halving
