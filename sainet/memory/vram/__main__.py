"""`python -m sainet.memory.vram < REQUEST.json > TRACE.json`: the tracer's process.

What goes wrong is the last line on stderr, and the exit code is that of the error.
"""

import os
import sys
import tempfile
import traceback
from pathlib import Path

from sainet.engine.environment import seal
from sainet.errors import SainetError
from sainet.memory.trace_record import TraceRequest


def main() -> int:
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print is no part of the answer
    try:
        request = TraceRequest.model_validate_json(sys.stdin.read())
        with tempfile.TemporaryDirectory(prefix="sainet-trace-") as folder:
            seal(Path(folder))
            from sainet.memory.vram.joining import trace

            text = trace(request).model_dump_json()
    except SainetError as error:
        print(error.message, file=sys.stderr)
        return error.code
    except Exception as error:
        traceback.print_exc()
        print(_first_line(error), file=sys.stderr)
        return 1
    with os.fdopen(answer, "w", encoding="utf-8") as stream:
        stream.write(text)
    return 0


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
