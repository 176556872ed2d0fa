"""torchrun as the launcher uses it: it ends when its ranks have, and tells exactly who failed first.

torchrun ends in a traceback that buries the reason of a failure, and answers SIGTERM, SIGINT and SIGHUP by giving its
ranks a fixed time. Here the launcher passes signals on to the ranks, they alone decide how long they need to save, and
failures go to a pipe as one line of JSON.
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

    from ssar.engine.interrupt import catch
    from ssar.launch import PARENT, end_with_parent

    # what it says of failures goes through the pipe
    logging.disable(logging.CRITICAL)
    pipe = int(sys.argv[1])
    # its ranks notice, and save
    end_with_parent(signal.SIGKILL)
    os.environ[PARENT] = str(os.getpid())
    # not ignored, since ignoring is inherited
    catch(lambda number, frame: None)
    try:
        torchrun(["--signals-to-handle", "SIGQUIT", *sys.argv[2:]])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        with os.fdopen(pipe, "w") as out:
            json.dump({"rank": rank, "status": failure.exitcode}, out)
        sys.exit(1)


if __name__ == "__main__":
    main()
