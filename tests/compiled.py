"""Compiled programs, and the instructions in their loops that only move numbers."""

import math
import re

import jax

# Instructions whose result holds the numbers of an operand, elsewhere or in another order.
MOVES = "bitcast-convert", "concatenate", "copy", "dynamic-slice", "gather", "pad", "reverse", "slice", "transpose"

# "%name (arguments) -> result {", then one instruction a line, then "}".
_COMPUTATION = re.compile(r"^(?:ENTRY )?%(\S+) \(.*?\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_CALLED = re.compile(r"(body|calls|condition|to_apply|\w+_computations?)=\{?((?:%[\w.-]+(?:, )?)+)")
_MOVE = re.compile(rf"%(\S+) = \w+\[([\d,]*)\]\S* (?:{'|'.join(MOVES)})\(")


def compiled(function, *arguments):
    """Compile a function as it is compiled by default: the suite's flags turn off how XLA:CPU fuses instructions.

    The other settings of the suite leave the optimized program as it is, and change only its machine code.
    """
    options = {"xla_cpu_use_fusion_emitters": True} if jax.default_backend() == "cpu" else None
    return jax.jit(function).lower(*arguments).compile(compiler_options=options)


def copies_in_loops(program, at_least, *, branches=True):
    """Return the instructions in loops of a compiled program that only move ``at_least`` numbers or more.

    Loops contain what they call: fusions, other loops and, with ``branches``, both branches of conditionals. A
    ``dynamic-update-slice`` writes in place, or XLA adds a ``copy``, which is listed; ``bitcast`` and ``reshape`` move
    nothing. The loop that draws random bits copies them, so that ``at_least`` should exceed their number.
    """
    computations = dict(_COMPUTATION.findall(program.as_text()))
    unread = re.findall(r" while\(.*?body=%([\w.-]+)", "".join(computations.values()))
    in_loops = {}
    while unread:
        name = unread.pop()
        if name not in in_loops:
            in_loops[name] = computations[name]
            called = _CALLED.findall(computations[name])
            names = " ".join(
                names for kind, names in called if branches or not kind.endswith(("computation", "computations"))
            )
            unread += re.findall(r"%([\w.-]+)", names)
    lines = [line.strip().partition(", metadata=")[0] for body in in_loops.values() for line in body.splitlines()]
    return [line for line in lines if (move := _MOVE.search(line)) and _size(move[2]) >= at_least]


def _size(dimensions):
    """Return the number of elements of a shape in text, such as "16,32"; "" is a scalar."""
    return math.prod(int(number) for number in dimensions.split(",") if number)
