"""The command line: ``genjax COMMAND ...``, also ``python -m genjax COMMAND ...``.

Exit status: 0 for success, 1 if a run fails, 2 if the input is rejected before anything compiles, 128 + n for signal n.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from genjax.cli.processes import leave
from genjax.terminal import replace_unknown_characters

USAGE = """usage: genjax COMMAND ...

  train FILE      train the experiment of a file:         genjax train experiments/vae_digits.py
  compile FILE    memory and time on absent chips:        genjax compile experiments/vae_digits.py --topology v5e:2x2
  sample RUN      draw samples from a finished run:       genjax sample runs/vae_digits/TIME -n 64
  translate RUN   translate a folder of images:           genjax translate runs/cyclegan/TIME photos --out paintings
  edit RUN        restore or vary images:                 genjax edit runs/diffusion_digits/TIME small --task superres
  evaluate RUN    score a finished run and its samples:   genjax evaluate runs/vae_digits/TIME --metrics all
  compare RUN ... runs of any family in one report:       genjax compare runs/vae_digits/TIME runs/gan_digits/TIME
  choose          models that meet some needs best:       genjax choose --need fast-sampling --need diversity
  judge RUN ...   a page for people to judge samples:     genjax judge runs/vae_digits/TIME runs/gan_digits/TIME
  latent RUN      draw a finished run's latent space:     genjax latent runs/vae_digits/TIME
  export RUN      write programs that need jax alone:     genjax export runs/vae_digits/TIME --out vae
  serve DIR       answer HTTP requests by an export:      genjax serve vae --port 8000
  list            models, capabilities and experiments:   genjax list

'genjax COMMAND --help' shows the flags; with FILE or RUN, also those of the experiment or model."""

INTERRUPTED = "genjax: interrupted"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    replace_unknown_characters()
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        leave(_guarded(list(sys.argv[1:] if arguments is None else arguments)))


def _show_warning(message: Warning | str, *_: Any) -> None:
    """Print a warning as one line, without its place in the code, which does not help a user."""
    print(f"genjax: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _guarded(arguments: list[str]) -> int:
    """Run a command, and turn errors into one line and an exit status."""
    with _exit_on_interrupt():
        from genjax.runner import CheckpointError, Interrupted, NonFiniteError
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except Interrupted as interruption:
        print(f"genjax: {interruption}", file=sys.stderr)
        return 128 + interruption.signal_number
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 128 + signal.SIGINT
    except (NonFiniteError, CheckpointError, FloatingPointError) as error:
        return _fail(error, 1)
    except (ValueError, FileNotFoundError, NotADirectoryError, ImportError) as error:  # ImportError: a missing extra
        return _fail(error, 2)
    except BrokenPipeError:  # the reader of the output, such as head, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at exit
        return 128 + signal.SIGPIPE
    except OSError as error:
        return _fail(error, 1)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = next((frame for frame in reversed(frames) if "site-packages" not in frame.filename), frames[-1])
        message = f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})"
        return _fail(RuntimeError(f"{message}; set GENJAX_TRACEBACK=1 to see how it came about"), 1, cause=error)


@contextlib.contextmanager
def _exit_on_interrupt() -> Iterator[None]:
    """Let Ctrl-C end the process at once, for imports, in which KeyboardInterrupt is lost or becomes another error."""

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        os.write(2, f"{INTERRUPTED}\n".encode())
        os._exit(128 + number)

    is_main = threading.current_thread() is threading.main_thread()  # Python allows handlers there only
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _fail(error: Exception, status: int, cause: Exception | None = None) -> int:
    if os.environ.get("GENJAX_TRACEBACK"):
        traceback.print_exception(cause or error)
    print(f"genjax: error: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from genjax import __version__

        print(__version__)
        return 0
    with _exit_on_interrupt():
        from genjax.cli.commands import COMMANDS

    name, *rest = arguments
    if name not in COMMANDS:
        raise ValueError(f"unknown command {name!r}; use one of {', '.join(COMMANDS)}")
    return COMMANDS[name](rest)
