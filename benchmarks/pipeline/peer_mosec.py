"""mosec with the model: python -m benchmarks.pipeline.peer_mosec --num PROCESSES [mosec's own arguments]"""

import argparse
import sys
from typing import Any

from mosec import Server, Worker

from benchmarks.pipeline.served import BATCH, WAIT_S, Served


class Judge(Worker):
    def __init__(self) -> None:
        self.served = Served()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[dict[str, Any]]:
        return self.served.answers(data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, required=True)
    options, own = parser.parse_known_args()
    sys.argv = [sys.argv[0], *own]  # mosec reads them itself
    server = Server()
    server.append_worker(Judge, num=options.num, max_batch_size=BATCH, max_wait_time=int(WAIT_S * 1000))
    server.run()
