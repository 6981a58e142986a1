"""deploy/redis.conf on the real server: it asks for the password, keeps its content and drops nothing."""

import subprocess
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError


def test_the_server_takes_it_and_asks_for_the_password(plant: Any) -> None:
    plant.start("redis")
    plant.wait_until(lambda: plant.answers("redis"), "redis to listen")
    with Redis(port=plant.ports["redis"]) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()
    with Redis.from_url(plant.secret("broker_url")) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.lpush("score", "a message")
    plant.kill("redis")

    plant.start("redis")  # killed, and what was queued is there again
    plant.wait_until(lambda: plant.answers("redis"), "redis to listen again")
    with Redis.from_url(plant.secret("broker_url")) as client:
        assert client.lrange("score", 0, -1) == [b"a message"]


def test_without_its_password_file_it_does_not_start(plant: Any) -> None:
    (plant.secrets / "redis_auth").unlink()
    done = subprocess.run(plant.command("redis"), capture_output=True, timeout=20, check=False)
    assert done.returncode != 0
