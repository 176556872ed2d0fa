"""torchrun as the launcher uses it: it ends when its ranks have, and tells exactly who failed first.

torchrun ends in a traceback that buries the reason of a failure, and answers SIGTERM by giving its ranks a fixed time.
Here the ranks alone decide how long they need to save, and failures go to a pipe as one line of JSON.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys


def main() -> None:
    """`ssar.elastic PIPE ARGUMENTS...`: run torchrun with the arguments; PIPE is a file descriptor to write to."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    from ssar.launch import end_with_parent

    # what it says of failures goes through the pipe
    logging.disable(logging.CRITICAL)
    pipe = int(sys.argv[1])
    end_with_parent(signal.SIGINT)
    # not ignored, since ignoring is inherited
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        torchrun(["--signals-to-handle", "SIGINT,SIGHUP,SIGQUIT", *sys.argv[2:]])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        with os.fdopen(pipe, "w") as out:
            json.dump({"rank": rank, "status": failure.exitcode}, out)
        sys.exit(1)


if __name__ == "__main__":
    main()
