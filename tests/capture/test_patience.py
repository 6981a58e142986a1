"""Waiting for what is away: said once, whatever else works meanwhile."""

from threading import Event, Thread

from capture.patience import Patience
from db.imagestore import ImageStoreUnavailableError


def test_a_thread_that_gets_what_it_wants_does_not_say_that_another_one_does() -> None:
    """A station asks the database which files are known, while its images wait for their store."""
    said: list[str] = []
    told, back = Event(), Event()

    def say(text: str) -> None:
        said.append(text)
        told.set()

    def store() -> None:
        if not back.is_set():
            raise ImageStoreUnavailableError("s3://images", "connection refused")

    patience = Patience(Event(), 0.05, say)
    waiting = Thread(target=patience.call, args=(store,))
    waiting.start()
    assert told.wait(10)
    for _ in range(3):
        patience.call(lambda: None)
    assert ["connection refused" in text for text in said] == [True]
    back.set()
    waiting.join(10)
    assert len(said) == 2
    assert "back" in said[1]
