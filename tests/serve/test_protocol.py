"""The Open Inference Protocol, the description, and reloading."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from distill_jax.errors import UserError
from distill_jax.serve import loading
from distill_jax.serve.models import parse_models
from distill_jax.serve.openapi import openapi
from tests.serve.fake import LABELS, FakeTagger, World, entity, get, post, run


def tensor(texts: list[Any], **changes: Any) -> dict[str, Any]:
    fields = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return {"inputs": [fields | changes]}


def test_infer(world: World) -> None:
    body = {"id": "7", **tensor(["to Oslo", "a"])}
    answer = post(world, body, "/v2/models/b/infer").json()
    [output] = answer["outputs"]
    assert answer["id"] == "7" and answer["model_name"] == "b"
    assert (output["name"], output["datatype"], output["shape"]) == ("entities", "BYTES", [2])
    assert [json.loads(one) for one in output["data"]] == [[entity("city", "Oslo", 3)], []]
    column = post(world, tensor([["Oslo"]], shape=[1, 1]), "/v2/models/a/infer").json()
    assert "id" not in column and column["outputs"][0]["shape"] == [1]
    assert answer["model_version"] == get(world, "/v2/models/b").json()["versions"][0]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        (tensor(["a"], name="x"), "inputs[0].name"),
        (tensor(["a"], datatype="FP32"), "inputs[0].datatype"),
        (tensor(["a"], shape=[2]), "inputs[0].shape"),
        (tensor([3]), "inputs[0].data[0]"),
        (tensor(["a"]) | {"outputs": [{"name": "x"}]}, "outputs"),
        (tensor(["a"]) | {"id": 3}, "id"),
        (tensor(["a"]) | {"parameters": {"top_k": -1}}, "parameters.top_k"),
        (tensor(["b " * 300]), "inputs[0].data[0]"),
    ],
)
def test_bad_tensors(world: World, body: Any, field: str) -> None:
    answer = post(world, body, "/v2/models/a/infer")
    assert answer.status_code == 422 and answer.json()["field"] == field


def test_models_and_their_states(world: World) -> None:
    assert get(world, "/v2").json()["name"] == "distill_jax"
    assert get(world, "/v2/models/a").json()["inputs"] == [
        {"name": "text", "datatype": "BYTES", "shape": [-1]}
    ]
    assert get(world, "/v2/models/a/ready").json() == {"name": "a", "ready": True}
    assert get(world, "/v2/models/x/ready").status_code == 404
    index = post(world, b"", "/v2/repository/index").json()
    assert [(one["name"], one["state"]) for one in index] == [("a", "READY"), ("b", "READY")]
    world.models.ending = True
    ready = get(world, "/v2/health/ready")
    assert ready.status_code == 503 and ready.headers["connection"] == "close"


def test_the_description_has_every_route_and_every_schema(world: World) -> None:
    document = get(world, "/openapi.json").json()
    assert document == openapi(world.settings, needs_token=False)
    application: Any = world.app
    served = {
        (route.path, method.lower())
        for route in application._app.routes
        if isinstance(route, Route) and route.path != "/openapi.json"
        for method in route.methods or ()
        if method != "HEAD"
    }
    said = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert said == served
    schemas = document["components"]["schemas"]
    named = set(part.split('"')[0] for part in json.dumps(document).split("schemas/")[1:])
    assert named <= set(schemas)
    page = get(world, "/docs").text
    assert all(path in page for path in document["paths"]) and all(name in page for name in schemas)


LOAD = "/v2/repository/models/a/load"


def change(world: World, content: str = "2") -> None:
    (world.folder / "a" / "weights").write_text(content)


def test_reloading_takes_what_is_there_now(world: World) -> None:
    assert post(world, b"", LOAD).json()["result"] == "unchanged"
    before = get(world, "/v2/models/a").json()["versions"]
    old, new = world.taggers["a"], FakeTagger()
    world.taggers["a"] = new
    change(world, "22")
    answer = post(world, b"", LOAD).json()
    assert answer["result"] == "loaded" and [answer["version"]] != before
    post(world, {"inputs": "Oslo"})
    assert (len(old.batches), len(new.batches)) == (0, 1) and new.warmed


def test_a_damaged_model_leaves_the_old_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(directory: Path) -> FakeTagger:
        raise UserError(f"{directory}: damaged; copy it again")

    model = world.models.get("a")
    monkeypatch.setattr(model, "_loader", damaged)
    change(world, "22")
    answer = post(world, b"", LOAD)
    assert answer.status_code == 409 and "damaged; copy it again" in answer.json()["error"]
    for path in (world.folder / "a").iterdir():
        path.unlink()
    (world.folder / "a").rmdir()
    assert post(world, b"", LOAD).status_code == 409
    assert post(world, {"inputs": "Oslo"}).json() == [entity("city", "Oslo", 0)]
    assert get(world, "/v2/health/ready").status_code == 200
    assert 'distill_jax_reloads_total{model="a",result="failed"} 2.0' in get(world, "/metrics").text


def test_a_directory_that_changes_while_it_is_read(tmp_path: Path) -> None:
    """The weights of one model with the words of another are never served."""
    file = tmp_path / "weights"
    file.write_text("1")
    reads: list[str] = []

    def loader(directory: Path) -> FakeTagger:
        reads.append(file.read_text())
        if len(reads) == 1:
            file.write_text("22")  # somebody else, in the middle of it
            raise UserError("the vocabulary is not the one the model was trained with")
        return FakeTagger()

    assert loading.load(tmp_path, loader).fingerprint == loading.fingerprint(tmp_path)
    assert reads == ["1", "22"]

    def always(directory: Path) -> FakeTagger:
        file.write_text(file.read_text() + "1")
        return FakeTagger()

    with pytest.raises(UserError, match="changes while it is read; put a new model there by one"):
        loading.load(tmp_path, always)


def test_no_request_is_lost_while_models_change(world: World) -> None:
    """Sixteen clients ask while the model is replaced again and again."""
    stop = threading.Event()

    def reloading() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            world.taggers["a"] = FakeTagger(LABELS)
            change(world, "2" * number)
            assert world.models.get("a").reload() == "loaded"

    async def client(ask: httpx.AsyncClient, number: int) -> None:
        for turn in range(25):
            word = f"Oslo{chr(97 + number)}{chr(97 + turn)}"
            answer = await ask.post("/predict", json={"inputs": f"to {word}"})
            assert answer.json() == [entity("city", word, 3)]

    async def all_of_them() -> None:
        async with world.client() as ask:
            await asyncio.gather(*(client(ask, number) for number in range(16)))

    thread = threading.Thread(target=reloading)
    thread.start()
    try:
        run(all_of_them())
    finally:
        stop.set()
        thread.join()
    text = get(world, "/metrics").text
    [loads] = [
        line for line in text.splitlines() if 'reloads_total{model="a",result="loaded"}' in line
    ]
    assert float(loads.split()[-1]) > 1


def test_names_of_models(tmp_path: Path) -> None:
    (tmp_path / "x=1").mkdir()
    given = [
        "runs/kd/model",
        "runs/int/onnx",
        "other",
        "c=some/where",
        str(tmp_path / "x=1").replace("x=1", "y"),
    ]
    assert list(parse_models(given)) == ["kd", "int", "other", "c", "y"]
    assert parse_models(["c=some/where"])["c"] == Path("some/where")
    for wrong, named in ((["a", "b/a"], "is the name of a already"), (["ü"], "--model NAME=ü")):
        with pytest.raises(UserError, match=named):
            parse_models(wrong)
