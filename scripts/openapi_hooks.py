"""Body forms that Schemathesis does not know by itself; `scripts/check-openapi` names this file in SCHEMATHESIS_HOOKS."""

import json

import schemathesis


@schemathesis.serializer("application/jsonlines", "application/x-ndjson")
def json_lines(_context, value):
    """Text stays as it is: it is what the document says of such a body. Anything else is written as lines."""
    if isinstance(value, (str, bytes)):
        return value if isinstance(value, bytes) else value.encode(errors="surrogatepass")
    rows = value if isinstance(value, list) else [value]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
