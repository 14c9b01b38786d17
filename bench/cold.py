"""Measures a function's import and first request, and writes the times to stderr as JSON.

Run this file in a fresh process. The arguments are the function's folder and a file with an event. Without arguments,
this file measures a reference: `import boto3` and creating a DynamoDB client. This file imports very little before the
measurement, because a module that is already imported would take the function no time.
"""

import resource
import sys
import time


def clocks() -> tuple[float, float]:
    """Return the wall clock and this process's user time, in seconds."""
    return time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime


def main() -> None:
    began = clocks()
    if len(sys.argv) == 1:
        import boto3

        boto3.client("dynamodb")
        ready = clocks()
        asked = answered = ready
    else:
        sys.path.insert(0, sys.argv[1])
        import app  # type: ignore[import-not-found]  # the function's module, by the name that Lambda uses

        ready = clocks()
        event, context = sample(sys.argv[2])
        asked = clocks()
        answer = app.handler(event, context)
        answered = clocks()
        if failed(answer):
            sys.exit(f"the first request failed: {answer}")
    import json

    took = [[end - begin for begin, end in zip(*span, strict=True)] for span in ((began, ready), (asked, answered))]
    sys.stderr.write(json.dumps(took))


def failed(answer: dict[str, object]) -> bool:
    """Return whether ``answer`` is an error, or shows that a batch or a scheduled run did not finish."""
    return answer.get("statusCode", 200) != 200 or bool(answer.get("batchItemFailures") or answer.get("failures"))


def sample(path: str) -> tuple[object, object]:
    """Return the event in a file, and the context of its invocation."""
    import json
    from types import SimpleNamespace

    with open(path) as file:  # noqa: PTH123 - pathlib would be imported
        event = json.load(file)
    return event, SimpleNamespace(
        function_name="bench",
        memory_limit_in_mb=512,
        invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:bench",
        aws_request_id="bench",
        get_remaining_time_in_millis=lambda: 900_000,
    )


if __name__ == "__main__":
    main()
