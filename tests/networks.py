"""Networks for tests: a function as a network, and one that records how it is called."""

from __future__ import annotations


class Function:
    """A function ``(params, *args) -> outputs`` with the interface of a network."""

    def __init__(self, function, params=None):
        self.function, self.params = function, params or {}

    def init(self, key, *args):
        return {"params": self.params}

    def apply(self, variables, *args):
        return self.function(variables["params"], *args)


class Recorder:
    """A network that stores each call's value of ``train`` and whether it came with a key for dropout."""

    def __init__(self, net):
        self.net, self.calls = net, set()

    def init(self, key, *args, train):
        return self.net.init(key, *args)

    def apply(self, variables, *args, train, rngs=None):
        self.calls.add((train, rngs is not None))
        return self.net.apply(variables, *args)
