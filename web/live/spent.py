"""What looking costs whoever else wants the machine."""

import time


class Spent:
    """Seconds since it was made: of this thread's processor time, or of waiting, which counts a fifth.

    On a busy machine all takes long and costs no more; a database that is elsewhere is waited for.
    """

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self._cpu_s = time.thread_time()

    def seconds(self) -> float:
        return max(time.thread_time() - self._cpu_s, (time.monotonic() - self.begun) / 5)
