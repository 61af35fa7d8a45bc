"""boto3's own client of the SageMaker runtime."""

import functools
import json

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from . import check, predictions
from .rows import ROWS, as_csv, as_objects, expected


@functools.cache
def client(url):
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 1}),
    )


def invoke(context, body, content_type="text/csv", endpoint="flowers", **more):
    if content_type is not None:
        more["ContentType"] = content_type
    answer = client(context.server.url).invoke_endpoint(EndpointName=endpoint, Body=body, **more)
    return answer, answer["Body"].read()


def refused(context, *arguments, **more):
    """The exception's answer."""
    try:
        invoke(context, *arguments, **more)
    except ClientError as error:
        return type(error).__name__, error.response
    raise AssertionError("not refused")


@check("CSV in, the class of each row out, in order")
def csv(context):
    answer, body = invoke(context, as_csv(ROWS))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["ContentType"].startswith("text/csv"), answer["ContentType"]
    assert body.decode().splitlines() == expected(context.server)[0]


@check("JSON in and out, and CSV to JSON by Accept")
def forms(context):
    classes, _ = expected(context.server)
    _, body = invoke(context, json.dumps({"instances": ROWS}), "application/json")
    assert [row["class"] for row in predictions(body)] == classes
    answer, body = invoke(context, as_csv(ROWS), Accept="application/json")
    assert answer["ContentType"].startswith("application/json")
    assert [row["class"] for row in predictions(body)] == classes


@check("JSON lines in")
def json_lines(context):
    classes, _ = expected(context.server)
    body = "".join(json.dumps(row) + "\n" for row in as_objects(ROWS))
    _, answer = invoke(context, body, "application/jsonlines", Accept="text/csv")
    assert answer.decode().splitlines() == classes, answer[:200]


@check("an inference id comes back, in the header and in JSON")
def inference_id(context):
    answer, body = invoke(context, as_csv(ROWS[:1]), Accept="application/json", InferenceId="order-17")
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-sagemaker-inference-id"] == "order-17"
    assert json.loads(body)["inference_id"] == "order-17"


@check("custom attributes are taken, also empty ones")
def custom_attributes(context):
    for attributes in ["", "trace=a,b=c", "x" * 1024]:
        _, body = invoke(context, as_csv(ROWS[:1]), CustomAttributes=attributes)
        assert body.decode().splitlines() == expected(context.server, ROWS[:1])[0]


@check("the answer names its request and its variant, and that variant can be asked for")
def variant(context):
    answer, _ = invoke(context, as_csv(ROWS[:1]))
    assert answer["ResponseMetadata"]["RequestId"]
    name = answer["InvokedProductionVariant"]
    answer, _ = invoke(context, as_csv(ROWS[:1]), TargetVariant=name)
    assert answer["InvokedProductionVariant"] == name


@check("each endpoint answers by its own model")
def endpoints(context):
    _, body = invoke(context, as_csv(ROWS), endpoint="others")
    assert body.decode().splitlines() == expected(context.server, path="/endpoints/others/invocations")[0]


@check("an unknown endpoint or variant is a ValidationError")
def unknown(context):
    for more in [{"endpoint": "nobody"}, {"TargetVariant": "nobody"}]:
        _, answer = refused(context, as_csv(ROWS[:1]), **more)
        assert answer["Error"]["Code"] == "ValidationError", answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert "nobody" in answer["Error"]["Message"], answer["Error"]


@check("a body that the model cannot take is a ModelError with the original status and words")
def model_error(context):
    for body, content_type, status, code in [
        ("1,2,x,4\n", "text/csv", 422, "not_a_number"),
        ("", "text/csv", 400, "empty_body"),
        ("{", "application/json", 400, "malformed_json"),
        ("1,2,3\n", "text/csv", 422, "wrong_column_count"),
        ("1,2,3,4\n", "text/plain", 415, "unsupported_media_type"),
        ("1,2,3,4\n", None, 415, "unsupported_media_type"),
    ]:
        kind, answer = refused(context, body, content_type)
        assert kind == "ModelError", (code, kind, answer)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
        assert answer["OriginalStatusCode"] == status, (code, answer)
        assert code in answer["OriginalMessage"], answer["OriginalMessage"]
        assert isinstance(answer["LogStreamArn"], str)


@check("a body of more than 6 MiB is refused, and the client learns why")
def too_large(context):
    kind, answer = refused(context, b"1,2,3,4\n" * 1_000_000)
    assert kind in ("ModelError", "ValidationError"), kind
    assert "6291456" in str(answer) or "body_too_large" in str(answer), answer
