"""LitServe with the model: python -m benchmarks.pipeline.peer_litserve --port P --num PROCESSES"""

import argparse
import base64
from typing import Any

import litserve as ls
from fastapi import Request

from benchmarks.pipeline.served import BATCH, WAIT_S, Served


class Judge(ls.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002
        self.served = Served()

    def decode_request(self, request: Request) -> bytes:
        # What a plain request comes as is its JSON: base64 is how its users send images.
        return base64.b64decode(request["image"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, inputs: list[bytes]) -> list[dict[str, Any]]:
        return self.served.answers(inputs)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--num", type=int, required=True)
    options = parser.parse_args()
    api = Judge(max_batch_size=BATCH, batch_timeout=WAIT_S)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=options.num)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")
