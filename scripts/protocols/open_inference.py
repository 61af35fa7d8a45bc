"""NVIDIA's client of the Open Inference Protocol, and requests that it would never send."""

import gzip
import json
import struct

import numpy
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from live import CLASSES, FEATURES
from . import check
from .rows import ROWS, expected

MATRIX = numpy.array(ROWS)


def client(context):
    return triton.InferenceServerClient(context.server.url.removeprefix("http://"))


def tensor(name, values, datatype, binary=True):
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def wanted(binary):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "class")]


def matches(context, result, rows=None, tolerance=1e-12):
    """The two tensors say what CSV says."""
    classes, probabilities = expected(context.server, rows)
    found = result.as_numpy("probabilities")
    assert found.shape == (len(classes), len(CLASSES)), found.shape
    assert numpy.abs(found - numpy.array(probabilities)).max() <= tolerance
    names = [name.decode() if isinstance(name, bytes) else name for name in result.as_numpy("class")]
    assert names == classes, names[:5]


def refused(context, send):
    try:
        send(client(context))
    except InferenceServerException as error:
        return int(str(error.status() or 0)), error.message()
    raise AssertionError("not refused")


@check("the server is live and ready, and so is the model")
def health(context):
    with client(context) as server:
        assert server.is_server_live()
        assert server.is_server_ready()
        assert server.is_model_ready("flowers")
        assert server.is_model_ready("others")
        assert not server.is_model_ready("nobody")


@check("metadata of the server")
def server_metadata(context):
    with client(context) as server:
        told = server.get_server_metadata()
    assert told["name"] == "serin" and told["version"], told
    assert "binary_tensor_data" in told["extensions"], told


@check("metadata of the model: its tensors and versions")
def model_metadata(context):
    with client(context) as server:
        told = server.get_model_metadata("flowers")
        assert told["name"] == "flowers" and told["versions"], told
        [features] = told["inputs"]
        assert features["shape"] == [-1, len(FEATURES)] and features["datatype"] == "FP64", features
        outputs = {output["name"]: (output["datatype"], output["shape"]) for output in told["outputs"]}
        assert outputs == {"probabilities": ("FP64", [-1, len(CLASSES)]), "class": ("BYTES", [-1])}, outputs
        version = told["versions"][0]
        assert server.is_model_ready("flowers", version)
        assert server.get_model_metadata("flowers", version)["name"] == "flowers"
        matches(context, server.infer("flowers", [tensor("features", MATRIX, "FP64")], model_version=version))


@check("one tensor of all features, as JSON and as bytes, answered as JSON and as bytes")
def one_tensor(context):
    for sent in (False, True):
        for told in (False, True):
            with client(context) as server:
                result = server.infer(
                    "flowers", [tensor("features", MATRIX, "FP64", sent)], outputs=wanted(told)
                )
            matches(context, result)


@check("all outputs when none are named")
def no_outputs(context):
    with client(context) as server:
        matches(context, server.infer("flowers", [tensor("anything", MATRIX, "FP64")]))


@check("one output when one is named")
def one_output(context):
    with client(context) as server:
        result = server.infer("flowers", [tensor("features", MATRIX, "FP64")], outputs=wanted(True)[1:])
    assert [output["name"] for output in result.get_response()["outputs"]] == ["class"]


@check("FP32 and whole numbers of each width")
def datatypes(context):
    for datatype, kind, binary in [
        ("FP32", "float32", True),
        ("FP32", "float32", False),
        ("INT8", "int8", True),
        ("INT16", "int16", True),
        ("INT32", "int32", False),
        ("INT64", "int64", True),
        ("UINT8", "uint8", True),
        ("UINT64", "uint64", True),
        ("FP16", "float16", True),
    ]:
        values = MATRIX if "FP" in datatype else MATRIX.round().clip(0)
        values = values.astype(kind)
        with client(context) as server:
            result = server.infer("flowers", [tensor("features", values, datatype, binary)])
        matches(context, result, values.astype(float).tolist())


@check("a tensor for each feature by name, [rows] or [rows, 1], in any order")
def tensor_per_feature(context):
    for shape in [(-1,), (-1, 1)]:
        for binary in (False, True):
            inputs = [
                tensor(name, numpy.ascontiguousarray(MATRIX[:, at]).reshape(shape), "FP64", binary)
                for at, name in reversed(list(enumerate(FEATURES)))
            ]
            with client(context) as server:
                matches(context, server.infer("flowers", inputs))


@check("NaN in a binary tensor is a missing value, where one may be missing")
def missing(context):
    values = MATRIX.copy()
    values[::3, 3] = numpy.nan
    with client(context) as server:
        result = server.infer("flowers", [tensor("features", values, "FP64")])
    rows = [[None if numpy.isnan(value) else value for value in row] for row in values.tolist()]
    matches(context, result, rows)
    values[0, 0] = numpy.nan
    status, message = refused(
        context, lambda server: server.infer("flowers", [tensor("features", values, "FP64")])
    )
    assert status == 422 or status == 400, status
    assert "missing_value" in message, message


@check("requests and answers packed with gzip")
def packed(context):
    for how in [
        {"request_compression_algorithm": "gzip"},
        {"response_compression_algorithm": "gzip"},
        {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"},
    ]:
        for binary in (False, True):
            with client(context) as server:
                matches(context, server.infer("flowers", [tensor("features", MATRIX, "FP64", binary)], **how))


@check("the caller's id comes back")
def request_id(context):
    with client(context) as server:
        result = server.infer("flowers", [tensor("features", MATRIX, "FP64")], request_id="42")
    assert result.get_response()["id"] == "42"
    assert result.get_response()["model_name"] == "flowers"


@check("many requests at once")
def at_once(context):
    with triton.InferenceServerClient(context.server.url.removeprefix("http://"), concurrency=8) as server:
        jobs = [server.async_infer("flowers", [tensor("features", MATRIX, "FP64")]) for _ in range(100)]
        for job in jobs:
            assert job.get_result().as_numpy("class").shape == (len(ROWS),)


@check("wrong shapes, types and names are refused with words")
def wrong_tensors(context):
    attempts = {
        "three columns": lambda server: server.infer(
            "flowers", [tensor("features", MATRIX[:, :3].copy(), "FP64")]
        ),
        "one dimension": lambda server: server.infer("flowers", [tensor("features", MATRIX.ravel(), "FP64")]),
        "three dimensions": lambda server: server.infer(
            "flowers", [tensor("features", MATRIX.reshape(-1, 2, 4), "FP64")]
        ),
        "no rows": lambda server: server.infer("flowers", [tensor("features", MATRIX[:0], "FP64")]),
        "text": lambda server: server.infer(
            "flowers", [tensor("features", MATRIX.astype(str).astype(object), "BYTES")]
        ),
        "a feature missing": lambda server: server.infer(
            "flowers", [tensor(name, MATRIX[:, 0].copy(), "FP64") for name in FEATURES[:3]]
        ),
        "features of different length": lambda server: server.infer(
            "flowers", [tensor(name, MATRIX[: at + 5, 0].copy(), "FP64") for at, name in enumerate(FEATURES)]
        ),
        "an unknown output": lambda server: server.infer(
            "flowers", [tensor("features", MATRIX, "FP64")], outputs=[triton.InferRequestedOutput("nothing")]
        ),
        "infinity": lambda server: server.infer("flowers", [tensor("features", MATRIX * numpy.inf, "FP64")]),
    }
    for name, send in attempts.items():
        status, message = refused(context, send)
        assert status in (400, 415, 422) and len(message) > 10, (name, status, message)
    for model, version in [("nobody", ""), ("flowers", "no-such-version")]:
        send = lambda server: server.infer(model, [tensor("features", MATRIX, "FP64")], model_version=version)
        status, message = refused(context, send)
        assert status == 404, (model, version, status, message)


def post(context, body, header_bytes=None, **headers):
    if header_bytes is not None:
        headers["Inference-Header-Content-Length"] = str(header_bytes)
    headers.setdefault(
        "Content-Type", "application/octet-stream" if header_bytes is not None else "application/json"
    )
    return context.server.answer("POST", "/v2/models/flowers/infer", body, headers)


def json_request(**changes):
    made = {"name": "features", "shape": [1, 4], "datatype": "FP64", "data": ROWS[0]} | changes
    return {"inputs": [{key: value for key, value in made.items() if value is not None}]}


@check("a body of nothing but one row's bytes")
def raw(context):
    status, headers, body = post(context, struct.pack("<4d", *ROWS[0]), 0)
    assert status == 200, body
    header = json.loads(body[: int(headers["Inference-Header-Content-Length"])])
    assert {output["name"] for output in header["outputs"]} == {"probabilities", "class"}


@check("nested and flat data mean the same")
def nested(context):
    answers = []
    for data in [ROWS[0] + ROWS[1], [ROWS[0], ROWS[1]]]:
        status, _, body = post(context, json.dumps(json_request(shape=[2, 4], data=data)).encode())
        assert status == 200, body
        answers.append(json.loads(body)["outputs"])
    assert answers[0] == answers[1]


@check("requests that lie about lengths, shapes and types are refused as JSON errors")
def lies(context):
    good = json.dumps(json_request(data=None, parameters={"binary_data_size": 32})).encode()
    row = struct.pack("<4d", *ROWS[0])
    assert post(context, good + row, len(good))[0] == 200
    binary = {
        "header longer than the body": (good + row, len(good) + 33),
        "header length cut": (good + row, len(good) - 1),
        "header length of 2^64": (good + row, 2**64),
        "negative header length": (good + row, -1),
        "header length that is no number": (good + row, "x"),
        "bytes missing": (good + row[:-1], len(good)),
        "bytes too many": (good + row + b"x", len(good)),
        "raw bytes of half a row": (row[:20], 0),
        "nothing": (b"", 0),
    }
    for size in [31, 33, 0, -1, 2**63, "32", 1.5, None]:
        header = json.dumps(json_request(data=None, parameters={"binary_data_size": size})).encode()
        binary[f"binary_data_size {size}"] = (header + row, len(header))
    taken = []
    for name, (body, header_bytes) in binary.items():
        taken += answered(name, post(context, body, header_bytes))
    plain = [
        json_request(shape=shape)
        for shape in ([1, 3], [2, 4], [0, 4], [], [-1, 4], [2**32, 2**32], "1,4", [1.5, 4], None)
    ]
    plain += [
        json_request(data=data) for data in (["a"] * 4, [None, 1, 1, 1], [], {}, "x", [[1], [2, 3, 4]], None)
    ]
    plain += [json_request(datatype=datatype) for datatype in ("BYTES", "FP8", "", 7, None)]
    plain += [
        json_request(name=7),
        {"inputs": []},
        {"inputs": {}},
        {},
        [],
        json_request() | {"outputs": [{}]},
        json_request() | {"outputs": 7},
        {"inputs": json_request()["inputs"] * 2},
    ]
    for request in plain:
        taken += answered(request, post(context, json.dumps(request).encode()))
    assert not taken, taken
    status, _, answer = post(context, gzip.compress(good), None, **{"Content-Encoding": "br"})
    assert status == 415, (status, answer)


def answered(what, answer):
    """`what`, unless the answer is a refusal in the protocol's form."""
    status, headers, body = answer
    is_refused = 400 <= status < 500 and headers.get_content_type() == "application/json"
    return [] if is_refused and json.loads(body)["error"] else [(what, status)]
