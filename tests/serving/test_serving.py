"""A server of exported models: equal numbers, one call for what arrives together, one line for what is malformed."""

import asyncio
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from genjax.export import export_run, load
from genjax.serving.batching import Batcher, Busy
from genjax.serving.requests import BadRequest, read_npy, read_rows, to_json
from genjax.serving.server import make_app
from tests.contract.registry import CASES
from tests.export.runs import untrained_run

pytest.importorskip("flatbuffers")
aiohttp = pytest.importorskip("aiohttp")
NPY = "application/x-npy"


def entry(name, shape=(), dtype="float32", num_values=None, null=None):
    fields = {"name": name, "shape": list(shape), "dtype": dtype, "meaning": "numbers"}
    return fields | {"num_values": num_values, "null": null}


INPUTS = [
    entry("key", (2,), "uint32"),
    entry("x", (2,)),
    entry("label", (), "int32", num_values=3),
    entry("prompt", (2,), "int32", num_values=5, null=-1),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the export of a flow."""
    run = untrained_run(next(case for case in CASES if case.name == "real_nvp"))
    path = tmp_path_factory.mktemp("export") / "flow"
    export_run(run, path, what=("sample", "log_prob"), platforms=("cpu",))
    return path


@pytest.fixture(scope="module")
def app_of(folder):
    """Return a function that makes the application."""
    return lambda **settings: make_app(folder, **({"sizes": (2, 4), "max_rows": 9} | settings))


def exchange(app, *requests):
    """Return (status, content) of requests (method, path, settings) that are sent together, one after the other."""

    async def run():
        from aiohttp.test_utils import TestClient, TestServer

        async with TestClient(TestServer(app)) as client:
            return [await send(client, *request) for request in requests]

    async def send(client, method, path, settings):
        async with client.request(method, path, **settings) as response:
            return response.status, await response.read()

    return asyncio.run(run())


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_answers_are_those_of_the_programs(folder, app_of):
    programs, x = load(folder), np.linspace(-1, 1, 18, dtype=np.float32).reshape(3, 6)
    bulk = {"data": npy(x), "headers": {"Content-Type": NPY, "Accept": NPY}}
    sampled, scored, scored_too, health, metrics = exchange(
        app_of(),
        ("POST", "/sample", {"json": {"num_samples": 5, "seed": 7}}),
        ("POST", "/log_prob", {"json": {"x": x.tolist()}}),
        ("POST", "/log_prob", bulk),
        ("GET", "/health", {}),
        ("GET", "/metrics", {}),
    )
    keys = np.array([[7, i] for i in range(5)], np.uint32)
    answer = json.loads(sampled[1])
    assert (sampled[0], answer["seed"]) == (200, 7)
    np.testing.assert_allclose(answer["sample"], programs["sample"](key=keys), rtol=1e-5, atol=1e-6)
    expected = np.asarray(programs["log_prob"](x=x))
    np.testing.assert_allclose(json.loads(scored[1])["log_prob"], expected, rtol=1e-5)
    np.testing.assert_allclose(np.load(io.BytesIO(scored_too[1])), expected, rtol=1e-5)
    assert json.loads(health[1]) == {"status": "ok", "model": "Flow", "programs": ["sample", "log_prob"]}
    lines = metrics[1].decode().splitlines()
    assert 'genjax_requests_total{program="log_prob",status="200"} 2' in lines
    assert 'genjax_rows_total{program="sample"} 5' in lines
    assert 'genjax_calls_total{program="sample",size="4"} 1' in lines  # 5 rows: a call of 4 and one of 1, padded to 2
    assert 'genjax_calls_total{program="sample",size="2"} 1' in lines


def test_every_bad_request_is_answered_by_one_line(app_of):
    cases = [
        ("POST", "/sample", {"data": b"{"}, 400, "the body is not JSON"),
        ("POST", "/sample", {"data": b"[" * 100_000}, 413, "the body exceeds 4096 bytes"),
        ("POST", "/sample", {"data": b"[" * 4_000}, 400, "the body is not JSON"),
        ("POST", "/sample", {"data": b"[1]"}, 400, "the body must be a JSON object"),
        ("POST", "/sample", {"json": {"num_samples": 10}}, 400, "num_samples must be a whole number from 1 to 9"),
        ("POST", "/sample", {"json": {"x": 1}}, 400, "'x' is no input; send key, seed, num_samples"),
        ("POST", "/sample", {"data": b"", "headers": {"Content-Type": NPY}}, 400, "this program takes no data"),
        ("POST", "/log_prob", {}, 400, "'x' is missing: data after the preprocessing"),
        ("POST", "/log_prob", {"data": b"x", "headers": {"Content-Type": NPY}}, 400, "the body is no .npy array"),
        ("POST", "/log_prob", {"data": b'{"x": [[NaN, 0, 0, 0, 0, 0]]}'}, 400, "x has numbers that are not finite"),
        ("POST", "/other", {}, 404, "there is no /other; POST to /sample, /log_prob"),
        ("GET", "/sample", {}, 405, "Method Not Allowed"),
    ]
    answers = exchange(app_of(max_bytes=4096), *[case[:3] for case in cases], ("GET", "/health", {}))
    for (status, content), case in zip(answers, cases, strict=False):
        assert status == case[3], content
        assert case[4] in json.loads(content)["error"]
        assert "\n" not in json.loads(content)["error"]
    assert answers[-1][0] == 200


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Return the export of a GPT that draws two tokens a call, at most six, and ends texts with token 0."""
    run = untrained_run(next(case for case in CASES if case.name == "gpt_modern"))
    path = tmp_path_factory.mktemp("export") / "gpt"
    settings = {"num_new": 2, "sample_kwargs": {"temperature": 0.8}}
    export_run(run, path, what=("sample", "extend"), platforms=("cpu",), **settings)
    return path


def events(content):
    """Return what server-sent events hold."""
    lines = content.decode().split("\n\n")
    assert lines.pop() == ""
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_text_is_streamed_as_it_is_drawn(texts):
    card = json.loads((texts / "card.json").read_text())
    stop, length = card["stop_token"], card["programs"]["extend"]["output"]["shape"][0]
    requests = [("POST", "/stream", {"json": {"seed": seed}}) for seed in range(4)]
    prompted = {"prompt": [2, 3], "seed": 5}
    *answers, begun, full, bad, two, metrics = exchange(
        make_app(texts, sizes=(1, 2)),
        *requests,
        ("POST", "/stream", {"json": prompted}),
        ("POST", "/stream", {"json": {"prompt": [1] * length}}),
        ("POST", "/stream", {"json": {"prompt": [-2]}}),
        ("POST", "/stream", {"json": {"prompt": [[1], [1]]}}),
        ("GET", "/metrics", {}),
    )
    sample = load(texts)["sample"]
    for seed, (status, content) in enumerate(answers):
        *pieces, last = events(content)
        expected = np.asarray(sample(key=np.array([[seed, 0]], np.uint32)))[0].tolist()
        expected = expected[: expected.index(stop) + 1] if stop in expected else expected
        assert (status, last) == (200, {"done": True, "seed": seed})
        assert [token for piece in pieces for token in piece["tokens"]] == expected
        assert all(len(piece["tokens"]) <= 2 for piece in pieces)
    assert begun[0] == 200 and events(begun[1])[-1]["done"]
    assert events(full[1])[0] == {"tokens": []}
    assert bad[0] == 400 and b"prompt is -2, but must be from 0" in bad[1]
    assert two[0] == 400 and b"there are 2 rows, but a request has one" in two[1]
    assert b'genjax_rows_total{program="stream"} 6' in metrics[1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x": [0, 1, 2], "label": 0}, r"x has shape \(3,\), but must be \(2,\) for each row"),
        ({"x": [[0, 1], [2]], "label": 0}, "x has rows of different lengths"),
        ({"x": [[0, 1]] * 3, "label": [0, 1]}, "the numbers of rows differ: x has 3, label has 2"),
        ({"x": [[0, 1]], "num_samples": 2, "label": 0}, "num_samples has 2, x has 1"),
        ({"x": "text", "label": 0}, r"x has shape \(\)"),
        ({"x": ["a", "b"], "label": 0}, "x must hold numbers"),
        ({"x": [1e300, 0], "label": 0}, "x has numbers that are not finite"),
        ({"x": [0, 1], "label": 3}, "label is 3, but must be from 0 to 2"),
        ({"x": [0, 1], "label": -1}, "label is -1, but must be from 0 to 2"),
        ({"x": [0, 1], "label": 1.5}, "label must hold whole numbers"),
        ({"x": [0, 1], "label": 2**70}, "label must hold whole numbers"),
        ({"x": [0, 1], "label": 0, "prompt": ["a"]}, "prompt must hold whole numbers"),
        ({"x": [0, 1], "label": 0, "prompt": [0.5]}, "prompt must hold whole numbers"),
        ({"x": [0, 1], "label": 0, "prompt": [-2, 0]}, "prompt is -2, but must be from 0 to 4"),
        ({"x": [0, 1], "label": 0, "seed": -1}, "seed must be a whole number from 0 to 4294967295"),
        ({"x": [0, 1], "label": 0, "seed": True}, "seed must be a whole number"),
        ({"x": [[0, 1]] * 9, "label": 0}, "there are 9 rows, but a request has 1 to 8"),
        ({"x": [], "label": 0}, r"x has shape \(0,\)"),
        ({"x": [0, 1]}, "'label' is missing"),
    ],
)
def test_fields_that_no_program_takes(fields, message):
    with pytest.raises(BadRequest, match=message):
        read_rows(fields, INPUTS, 8)


def test_rows_are_completed():
    rows, count, seed = read_rows({"x": [[0, 1], [2, 3]], "label": 2, "seed": 9}, INPUTS, 8)
    assert (count, seed) == (2, 9)
    assert {name: (array.dtype.name, array.tolist()) for name, array in rows.items()} == {
        "key": ("uint32", [[9, 0], [9, 1]]),
        "x": ("float32", [[0, 1], [2, 3]]),
        "label": ("int32", [2, 2]),
        "prompt": ("int32", [[-1, -1], [-1, -1]]),
    }


def test_short_prompts_are_padded_whatever_their_type():
    for prompt in ([3], np.array([3], np.uint8), np.array([[3]], np.int16)):
        rows, _, _ = read_rows({"x": [0, 1], "label": 0, "prompt": prompt}, INPUTS, 8)
        assert (rows["prompt"].dtype.name, rows["prompt"].tolist()) == ("int32", [[3, -1]])


def test_npy_holds_what_it_says():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for order in (array, np.asfortranarray(array)):
        np.testing.assert_array_equal(read_npy(npy(order)), array)
    with pytest.raises(BadRequest, match=r"the body is no .npy array"):
        read_npy(npy(array)[:-4])
    with pytest.raises(BadRequest, match=r"the body is no .npy array"):
        read_npy(npy(array).replace(b"(2, 3)", b"(9, 9)"))
    objects = io.BytesIO()
    np.lib.format.write_array_header_1_0(objects, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    with pytest.raises(BadRequest, match="the body must hold numbers"):
        read_npy(objects.getvalue() + b"pickle")


def test_numbers_that_json_lacks_are_null():
    assert json.loads(to_json("log_prob", np.array([1.0, np.nan, -np.inf], np.float32), None)) == {
        "log_prob": [1.0, None, None]
    }


def test_what_waits_together_is_one_call():
    calls, sizes = [], []

    def double(x):
        calls.append(x.tolist())
        if x.min() < 0:
            raise ValueError("below 0")
        return 2 * x

    async def run():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(double, (2, 4), 12, executor, sizes.append)
            requests = [[1, 2], [3], [4, 5, 6, 7, 8]]
            waiting = [asyncio.ensure_future(batcher.compute({"x": np.array(r)}, len(r))) for r in requests]
            await asyncio.sleep(0)
            with pytest.raises(Busy, match="8 rows are waiting, and 5 more exceed 12; try again later"):
                await batcher.compute({"x": np.arange(5)}, 5)
            task = asyncio.create_task(batcher.run())
            results = [(await result).tolist() for result in waiting]
            with pytest.raises(ValueError, match="below 0"):
                await batcher.compute({"x": np.array([-1])}, 1)
            after = await batcher.compute({"x": np.array([1])}, 1)
            task.cancel()
            return results, after.tolist(), batcher.waiting

    assert asyncio.run(run()) == ([[2, 4], [6], [8, 10, 12, 14, 16]], [2], 0)
    assert calls[:3] == [[1, 2, 3, 3], [4, 5, 6, 7], [8, 8]]
    assert sizes == [4, 4, 2, 2, 2]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([1] * 5, [8]),  # more than half of 8
        ([1] * 4, [1] * 4),  # 8 would be half empty
        ([1] * 64, [32, 32]),
        ([1] * 65, [128]),
        ([20, 20, 20], [32, 32, 32]),  # a part is not divided
        ([2], [8]),
        ([200], [128, 128]),
    ],
)
def test_calls_are_full_or_more_than_half_full(parts, expected):
    sizes = []

    async def run():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(lambda x: x, (1, 8, 32, 128), 1_000, executor, sizes.append)
            waiting = [asyncio.ensure_future(batcher.compute({"x": np.zeros(part)}, part)) for part in parts]
            await asyncio.sleep(0)
            task = asyncio.create_task(batcher.run())
            await asyncio.gather(*waiting)
            task.cancel()

    asyncio.run(run())
    assert sizes == expected


def test_only_a_full_call_is_queued_behind_another():
    begun, submitted = threading.Event(), []

    class Recording(ThreadPoolExecutor):
        def submit(self, function, parts):
            submitted.append(sum(len(part["x"]) for part in parts))
            return super().submit(function, parts)

    def wait(x):
        assert begun.wait(10)
        return x

    async def run():
        with Recording(1) as executor:
            batcher, waiting = Batcher(wait, (1, 4), 100, executor, lambda size: None), []
            task = asyncio.create_task(batcher.run())
            for count, expected in ((1, [1]), (3, [1]), (1, [1, 4]), (4, [1, 4])):
                waiting.append(asyncio.ensure_future(batcher.compute({"x": np.zeros(count)}, count)))
                for _ in range(3):
                    await asyncio.sleep(0)
                assert submitted == expected
            begun.set()
            await asyncio.gather(*waiting)
            task.cancel()

    asyncio.run(run())
    assert submitted == [1, 4, 4]


def test_a_folder_that_cannot_be_served_is_told_in_one_line(genjax, folder, tmp_path):
    status, out, err = genjax("serve", tmp_path)
    assert (status, out) == (2, "")
    assert err == f"genjax: error: {tmp_path}/card.json is missing; export the run again\n"
    for file in folder.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[:-1] if file.suffix == ".safetensors" else content)
    status, _, err = genjax("serve", tmp_path)
    assert (status, err) == (
        2,
        f"genjax: error: {tmp_path}/weights.safetensors is damaged; export the run again\n",
    )
    status, _, err = genjax("serve", folder, "--port", "0")
    assert status == 2 and "port is 0, but must be in [1, 65535]" in err
