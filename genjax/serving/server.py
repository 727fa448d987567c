"""A server of an export folder: POST /PROGRAM, GET /health, /card and /metrics.

    POST /sample    {"num_samples": 4, "seed": 7, "label": 3}  ->  {"sample": [...], "seed": 7}
    POST /log_prob  {"x": [[...], ...]}                        ->  {"log_prob": [...]}
    POST /stream    {"prompt": [84, 111], "seed": 7}           ->  data: {"tokens": [32, 98, ...]}, several times

A request with ``Accept: application/x-npy`` is answered by an ``.npy`` file. Sample i of a seed has the key (seed, i),
so that a sample depends on neither the batch nor the other requests in it. ``/stream`` sends one sequence as it is
drawn, as server-sent events, where the folder has the program ``extend``; its tokens are those of ``/sample``.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genjax.compilation import jit
from genjax.export.loader import load
from genjax.serving.batching import Batcher, Busy
from genjax.serving.metrics import Metrics
from genjax.serving.requests import NPY, BadRequest, read_body, read_rows, to_json, to_npy

if TYPE_CHECKING:
    from aiohttp import web

SIZES = (1, 8, 32, 128)
MAX_ROWS, MAX_WAITING, MAX_BYTES = 1_024, 8_192, 16 * 2**20


def serve(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    sizes: Sequence[int] = SIZES,
    max_rows: int = MAX_ROWS,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Serve an export folder until the process is interrupted.

    Args:
      folder: folder that ``genjax export`` wrote.
      host: address to listen on; the default is reached from this machine alone.
      port: port to listen on.
      sizes: numbers of rows that are compiled; programs of a fixed size have that alone.
      max_rows: number of rows in a request.
      max_bytes: size of a request's body in bytes.

    Raises:
      ValueError: if the folder is damaged.
      OSError: if the address cannot be listened on.
    """
    web = _aiohttp()
    app = make_app(folder, sizes=sizes, max_rows=max_rows, max_bytes=max_bytes)
    print(f"serving {folder} at http://{host}:{port}", flush=True)
    web.run_app(app, host=host, port=port, print=None, access_log=None, handle_signals=True, loop=_faster_loop())


def make_app(
    folder: Path, *, sizes: Sequence[int] = SIZES, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES
) -> web.Application:
    """Return the application of a folder, whose programs are compiled for all sizes."""
    web, server = _aiohttp(), _Server(folder, sizes, max_rows)

    @web.middleware
    async def one_line_errors(request: web.Request, handler: Any) -> web.StreamResponse:
        return await server.one_line_errors(request, handler)

    app = web.Application(client_max_size=max_bytes, middlewares=[one_line_errors])
    app.cleanup_ctx.append(server.running)
    app.add_routes([web.get("/health", server.health), web.get("/card", server.show_card)])
    app.add_routes([web.get("/metrics", server.show_metrics)])
    app.add_routes([web.post(f"/{name}", server.answer) for name in server.programs])
    if "extend" in server.programs:
        app.add_routes([web.post("/stream", server.stream)])
    return app


def _aiohttp() -> Any:
    try:
        from aiohttp import web
    except ImportError:
        raise ImportError('the server needs aiohttp; pip install "genjax-models[serve]"') from None
    return web


def _faster_loop() -> asyncio.AbstractEventLoop | None:
    """Return uvloop's event loop, which answers small requests faster, or None where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop()


class _Server:
    def __init__(self, folder: Path, sizes: Sequence[int], max_rows: int) -> None:
        self.programs, self.metrics, self.max_rows = load(folder, jit), Metrics(), max_rows
        self.card = json.loads((folder / "card.json").read_text())
        fixed = self.card["batch_size"]
        self.sizes = sorted(set(sizes)) if fixed == "any" else [fixed]
        self.batchers: dict[str, Batcher] = {}
        for name, program in self.programs.items():
            for size in self.sizes:
                program(**{entry["name"]: _zeros(entry, size) for entry in self.card["programs"][name]["inputs"]})

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """Run the batchers while the application runs."""
        del app
        with ThreadPoolExecutor(1) as executor:
            for name, program in self.programs.items():
                self.batchers[name] = Batcher(program, self.sizes, MAX_WAITING, executor, self._called(name))
            tasks = [asyncio.create_task(batcher.run()) for batcher in self.batchers.values()]
            yield
            for task in tasks:
                task.cancel()

    def _called(self, name: str) -> Any:
        return lambda size: self.metrics.calls.update([(name, size)])

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a request of a program."""
        name, web = request.path.strip("/"), _aiohttp()
        inputs = self.card["programs"][name]["inputs"]
        body = await request.read()
        fields = read_body(body, request.content_type, request.query, inputs)
        rows, count, seed = read_rows(fields, inputs, self.max_rows)
        outputs = await self.batchers[name].compute(rows, count)
        self.metrics.rows[name] += count
        seed = seed if any(entry["name"] == "key" for entry in inputs) and "key" not in fields else None
        if NPY in request.headers.get("Accept", ""):
            headers = {} if seed is None else {"X-Seed": str(seed)}
            return web.Response(body=to_npy(outputs), content_type=NPY, headers=headers)
        return web.Response(body=to_json(name, outputs, seed), content_type="application/json")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send the tokens of one sequence, piece by piece."""
        inputs = self.card["programs"]["extend"]["inputs"]
        fields = read_body(await request.read(), request.content_type, request.query, inputs)
        rows, _, seed = read_rows(fields, inputs, 1)
        pieces = self._pieces(rows)
        start = await anext(pieces)  # before the headers, so that an error has its status
        response = _aiohttp().StreamResponse(headers={"Cache-Control": "no-cache"})
        response.content_type = "text/event-stream"
        await response.prepare(request)
        try:
            await response.write(_event({"tokens": start}))
            async for tokens in pieces:
                await response.write(_event({"tokens": tokens}))
            await response.write(_event({"done": True, "seed": seed}))
        except ConnectionResetError:  # nobody reads any more
            return response
        except Exception as error:
            await response.write(_event({"error": " ".join(str(error).split())}))
        self.metrics.rows["stream"] += 1
        await response.write_eof()
        return response

    async def _pieces(self, rows: dict[str, np.ndarray]) -> AsyncIterator[list[int]]:
        """Yield the tokens that follow a prompt, up to the stop token or the last position."""
        first, stop = _num_known(rows["prompt"][0]), self.card["stop_token"]
        while True:
            (tokens,) = await self.batchers["extend"].compute(rows, 1)
            last = _num_known(tokens)
            new = tokens[first:last].tolist()
            ended = stop in new
            yield new[: new.index(stop) + 1] if ended else new
            if ended or last == len(tokens):
                return
            first, rows = last, rows | {"prompt": tokens[None]}

    async def one_line_errors(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Answer every error by one line, and count the request."""
        web, start = _aiohttp(), time.perf_counter()
        try:
            response = await handler(request)
        except BadRequest as error:
            response = _error(400, error)
        except Busy as error:
            response = _error(503, error)
        except web.HTTPRequestEntityTooLarge as error:
            response = _error(413, f"the body exceeds {request.client_max_size} bytes ({error.text}); send less")
        except web.HTTPNotFound:
            response = _error(404, f"there is no {request.path}; POST to /{', /'.join(self.programs)}")
        except web.HTTPException as error:
            response = _error(error.status, error.reason)
        except Exception as error:  # a fault of this server ends one request alone
            response = _error(500, f"{type(error).__name__}: {error}")
        name = request.path.strip("/")
        name = name if name in (*self.programs, "stream", "health", "card", "metrics") else "other"
        self.metrics.answered(name, response.status, time.perf_counter() - start)
        return response

    async def health(self, request: web.Request) -> web.Response:
        """Say that the server answers, and what it serves."""
        del request
        health = {"status": "ok", "model": self.card["model"], "programs": list(self.programs)}
        return _aiohttp().json_response(health)

    async def show_card(self, request: web.Request) -> web.Response:
        """Return the card of the export."""
        del request
        return _aiohttp().json_response(self.card)

    async def show_metrics(self, request: web.Request) -> web.Response:
        """Return the server's numbers."""
        del request
        waiting = sum(batcher.waiting for batcher in self.batchers.values())
        return _aiohttp().Response(text=self.metrics.text(waiting), content_type="text/plain")


def _zeros(entry: dict[str, Any], size: int) -> np.ndarray:
    return np.zeros((size, *entry["shape"]), np.dtype(entry["dtype"]))


def _num_known(tokens: np.ndarray) -> int:
    """Return the number of tokens before the first -1, which stands for those that are not drawn yet."""
    return int(np.argmin(np.append(tokens, -1) >= 0))


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def _error(status: int, message: object) -> web.Response:
    return _aiohttp().json_response({"error": " ".join(str(message).split())}, status=status)
