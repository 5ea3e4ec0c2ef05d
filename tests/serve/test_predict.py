"""`/predict` and what is around every request."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from distill_jax.serve.settings import Batching, Limits, ServeSettings
from tests.serve.fake import FakeTagger, World, entity, get, post, run

SMALL = ServeSettings(
    limits=Limits(body=2000, texts=4, words=6, queue=4, body_seconds=0.05, seconds=0.2),
    batching=Batching(2, 0.0),
    log_requests=False,
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[World]:
    """A world of small limits."""
    world = World(tmp_path, SMALL)
    world.models.warm()
    yield world
    for tagger in world.taggers.values():
        tagger.gate.set()
    world.models.close()


def test_a_text_and_a_list_of_texts(world: World) -> None:
    """As transformers' pipeline: a list of entities for a text, a list of these for a list."""
    oslo = [entity("city", "Oslo", 6)]
    assert post(world, {"inputs": "go to Oslo"}).json() == [entity("city", "Oslo", 6)]
    assert post(world, {"inputs": ["go to Oslo", "", "home"]}).json() == [oslo, [], []]
    assert post(world, {"inputs": []}).json() == []
    assert post(world, {"inputs": [["go", "to", "Oslo"]]}).json() == [oslo]


def test_offsets_count_code_points(world: World) -> None:
    text = "👩‍🚀  e\u0301  (New York)\r\n"
    [found] = post(world, {"inputs": text}).json()
    assert text[found["start"] : found["end"]] == found["word"] == "New York"


@pytest.mark.parametrize(
    ("strategy", "scores"),
    [
        ("simple", [0.75]),
        ("first", [0.9]),
        ("average", [0.9]),
        ("max", [0.9]),
        ("none", [0.9, 0.9]),
    ],
)
def test_aggregation(world: World, strategy: str, scores: list[float]) -> None:
    body = {"inputs": "in New York", "parameters": {"aggregation_strategy": strategy}}
    found = post(world, body).json()
    assert [one["score"] for one in found] == scores
    if strategy == "none":
        assert [(one["entity"], one["word"], one["index"]) for one in found] == [
            ("B-city", "New", 2),
            ("I-city", "York", 3),
        ]


def test_posteriors_and_the_best_tags(world: World) -> None:
    found = post(
        world, {"inputs": "to Oslo", "parameters": {"posteriors": True, "top_k": 1}}
    ).json()
    assert found["entities"] == [entity("city", "Oslo", 3)]
    assert found["words"][1] == {"word": "Oslo", "tag": "B-city", "start": 3, "end": 7}
    assert found["labels"] == ["O", "I", "city", "date_time"]
    assert found["posteriors"][1] == pytest.approx([0.1 / 3, 0.1 / 3, 0.9, 0.1 / 3], abs=1e-6)
    assert found["top_k"] == [[["O", 0.9]], [["city", 0.9]]]
    assert found["tail"] == pytest.approx([0.1, 0.1], abs=1e-6)


def test_models_are_chosen_by_name(world: World) -> None:
    for path in ("/predict?model=b", "/models/b/predict"):
        assert post(world, {"inputs": "Oslo"}, path).status_code == 200
    assert (len(world.taggers["a"].batches), len(world.taggers["b"].batches)) == (0, 2)
    listed = get(world, "/models").json()["models"]
    assert [(one["name"], one["ready"], one["labels"]) for one in listed] == [
        ("a", True, ["city", "date_time"]),
        ("b", True, ["city", "date_time"]),
    ]


BAD: list[tuple[Any, int, str]] = [
    (b"", 400, "body"),
    (b"{", 400, "body"),
    (b'{"inputs": "\xff"}', 400, "body"),
    ('{"inputs": "a"}'.encode("utf-16"), 400, "body"),
    (b"[]", 400, "body"),
    (b'{"inputs": NaN}', 400, "body"),
    (b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}", 422, "inputs[0][0]"),
    (b'{"inputs": ' + b"9" * 1500 + b"}", 422, "inputs"),
    ({}, 422, "inputs"),
    ({"input": "a"}, 422, "input"),
    ({"inputs": None}, 422, "inputs"),
    ({"inputs": {"a": 1}}, 422, "inputs"),
    ({"inputs": ["a", 3]}, 422, "inputs[1]"),
    ({"inputs": [["a", ""]]}, 422, "inputs[0][1]"),
    ({"inputs": "a \ud800"}, 422, "inputs"),
    ({"inputs": ["a b c d e f g"]}, 422, "inputs[0]"),
    ({"inputs": ["a"] * 5}, 422, "inputs"),
    ({"inputs": "a", "parameters": []}, 422, "parameters"),
    ({"inputs": "a", "parameters": {"top": 1}}, 422, "parameters.top"),
    ({"inputs": "a", "parameters": {"top_k": 0}}, 422, "parameters.top_k"),
    ({"inputs": "a", "parameters": {"top_k": True}}, 422, "parameters.top_k"),
    ({"inputs": "a", "parameters": {"posteriors": 1}}, 422, "parameters.posteriors"),
    (
        {"inputs": "a", "parameters": {"aggregation_strategy": "mean"}},
        422,
        "parameters.aggregation_strategy",
    ),
    (b'{"inputs": "' + b"a" * 2000 + b'"}', 413, "body"),
]


@pytest.mark.parametrize(("body", "status", "field"), BAD, ids=range(len(BAD)))
def test_bad_requests_name_the_field(small: World, body: Any, status: int, field: str) -> None:
    answer = post(small, body)
    assert answer.status_code == status, answer.text
    assert answer.json()["field"] == field
    assert answer.json()["error"].startswith(f"{field}: ")
    assert len(answer.text) < 400  # whatever was sent is not sent back
    assert not small.taggers["a"].batches


def test_unknown_models_and_paths(world: World) -> None:
    assert post(world, {"inputs": "a"}, "/predict?model=c").json() == {
        "error": "model: no model 'c' here, but a, b",
        "field": "model",
    }
    assert post(world, {"inputs": "a"}, "/models/c/predict").status_code == 404
    assert get(world, "/nothing").status_code == 404 and "error" in get(world, "/nothing").json()
    answer = get(world, "/predict")
    assert answer.status_code == 405 and answer.headers["allow"] == "POST"


def test_bodies_of_unknown_length_and_slow_ones(small: World) -> None:
    async def many() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"a" * 500

    async def asked(parts: AsyncIterator[bytes]) -> httpx.Response:
        async with small.client() as client:
            return await client.post("/predict", content=parts)

    assert run(asked(many())).status_code == 413
    with small.served() as address:  # httpx sends a body whole before it reads
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
        connection.putrequest("POST", "/predict")
        connection.putheader("content-length", "100")
        connection.endheaders(b'{"inputs": ')
        late = connection.getresponse()
        assert late.status == 408 and json.loads(late.read())["field"] == "body"
        assert late.headers["connection"] == "close"
        connection.close()


def test_a_full_queue_says_when_to_come_again(small: World) -> None:
    tagger = small.taggers["a"]
    tagger.gate.clear()

    async def asked() -> list[httpx.Response]:
        async with small.client() as client:
            first = [
                asyncio.create_task(client.post("/predict", json={"inputs": ["Oslo"]}))
                for _ in range(6)
            ]
            while len(tagger.batches) < 1 or sum(task.done() for task in first) < 1:
                await asyncio.sleep(0.001)
                late = await client.post("/predict", json={"inputs": ["a"] * 4})
                if late.status_code == 429:
                    break
            tagger.gate.set()
            return [late, *await asyncio.gather(*first)]

    late, *first = run(asked())
    assert late.status_code == 429 and int(late.headers["retry-after"]) >= 1
    assert {answer.status_code for answer in first} <= {200, 429}
    assert sum(answer.status_code == 200 for answer in first) >= 4
    assert post(small, {"inputs": "Oslo"}).status_code == 200


def test_an_answer_that_takes_too_long(small: World) -> None:
    tagger = small.taggers["a"]
    tagger.gate.clear()
    answer = post(small, {"inputs": "Oslo"})
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    tagger.gate.set()
    assert post(small, {"inputs": "Oslo"}).json() == [entity("city", "Oslo", 0)]


def test_a_model_that_is_not_ready(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert post(world, {"inputs": "a"}).status_code == 503
    assert get(world, "/v2/health/live").status_code == 200
    assert get(world, "/v2/health/ready").status_code == 503
    world.models.warm()
    assert get(world, "/v2/health/ready").status_code == 200
    sizes = set(world.taggers["a"].warmed)
    assert {(1, 4), (8, 256), (4, 128)} <= sizes and max(sizes) == (8, 256)
    world.models.close()


def test_a_fault_is_for_the_log_alone(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.taggers["a"].fails = ValueError("secret")
    answer = post(world, {"inputs": "private words"})
    assert answer.status_code == 500 and "secret" not in answer.text
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert any(record["event"] == "error" and record["error"] == "secret" for record in records)
    world.taggers["a"].fails = None
    assert post(world, {"inputs": "a"}).status_code == 200


def test_a_token(tmp_path: Path) -> None:
    world = World(tmp_path, token="s3cret")
    world.models.warm()
    for headers in ({}, {"authorization": "Bearer s3cre"}, {"authorization": "Basic s3cret"}):
        answer = post(world, {"inputs": "a"}, headers=headers)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert (
        post(world, {"inputs": "a"}, headers={"authorization": "Bearer s3cret"}).status_code == 200
    )
    codes = {path: get(world, path).status_code for path in ("/", "/docs", "/metrics", "/models")}
    assert codes == {"/": 200, "/docs": 200, "/metrics": 401, "/models": 401}
    assert get(world, "/v2/health/ready").status_code == 200
    world.models.close()


def test_other_origins(world: World) -> None:
    """No answer says that pages of others may read it, and what such a page asks is not done."""
    answer = post(world, {"inputs": "a"}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
    malformed = post(world, {"inputs": "a"}, headers={"origin": "http://["})
    assert malformed.status_code == 403 and malformed.json()["error"]
    own = post(world, {"inputs": "a"}, headers={"origin": "http://test"})
    assert own.status_code == 200 and "access-control-allow-origin" not in own.headers


def test_logs_and_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path, ServeSettings(batching=Batching(8)))
    world.models.warm()
    post(world, {"inputs": "go to Oslo"}, headers={"x-request-id": "mine-1"})
    post(world, b"{", headers={"x-request-id": "bad id"})
    output = capsys.readouterr().err
    assert "Oslo" not in output
    first, second = [json.loads(line) for line in output.splitlines()][-2:]
    assert first["id"] == "mine-1" and second["id"] != "bad id"
    assert (first["status"], first["model"], first["words"]) == (200, "a", 3)
    assert second["status"] == 400 and second["level"] == "info"
    text = get(world, "/metrics").text
    for line in (
        'distill_jax_requests_total{method="POST",route="predict",status="200"} 1.0',
        'distill_jax_requests_total{method="POST",route="predict",status="400"} 1.0',
        'distill_jax_words_total{model="a"} 3.0',
        'distill_jax_batch_sentences_count{model="a"} 1.0',
        'distill_jax_queue_sentences{model="a"} 0.0',
        'distill_jax_request_seconds_count{route="predict"} 2.0',
    ):
        assert line in text
    world.models.close()


def test_texts_where_a_model_takes_words_alone(tmp_path: Path) -> None:
    world = World(tmp_path, taggers={"a": FakeTagger(text_words="given")})
    world.models.warm()
    assert post(world, {"inputs": "go to Oslo"}).json()["field"] == "inputs"
    assert post(world, {"inputs": [["Oslo"]]}).json() == [[entity("city", "Oslo", 0)]]
    world.models.close()
