"""The ageing demo's schedule, where the gate refuses what it trains."""

import hashlib
from pathlib import Path
from threading import Event

from db import clock, models, schedules
from db.ids import uuid7
from db.tables import Alarm, Schedule, TrainingRun
from pyramidion.ageing.line import PRODUCT, Line, Plan
from pyramidion.ageing.story import Told, _move_on
from pyramidion.context import Context, open_context


def _refuse_another(context: Context, number: int) -> None:
    """Leave a run that ended as the trainer leaves one whose model the gate refused."""
    manifest = f'{{"number":{number}}}'
    version = hashlib.sha256(manifest.encode()).hexdigest()
    with context.sessions.begin() as session:
        models.register(session, version, PRODUCT, manifest, f"{number:064x}", 100)
        run = TrainingRun(
            id=uuid7(),
            product=PRODUCT,
            why="schedule",
            requested_by="schedule",
            requested_at=clock.now(session),
            state="succeeded",
            attempt=1,
            log="",
            model_version=version,
            gate_passed=False,
            gate_said=["rejects 4 of 28 good parts"],
            ended_at=clock.now(session),
        )
        session.add(run)


def test_a_refused_model_is_not_the_end_and_the_third_is(home: Path) -> None:
    """A gate of so few parts refuses a good model now and then, and a plant's schedule trains another."""
    context = open_context()
    line = Line(Plan(), 0, "lot", Event())
    told = Told()
    heard: list[str] = []
    with context.sessions.begin() as session:
        models.ensure_product(session, PRODUCT)
        schedules.change(session, PRODUCT, "demo", cron="* * * * *")
    _refuse_another(context, 0)  # an earlier demo's
    with context.sessions() as session:
        told.alarm = Alarm(opened_at=clock.now(session))

    def look() -> tuple[str | None, bool]:
        why_not = _move_on(context, line, told, None, heard.append)
        with context.reading() as session:
            return why_not, session.get_one(Schedule, PRODUCT).enabled

    assert look() == (None, True)
    for number in (1, 2):
        _refuse_another(context, number)
        assert look() == (None, True), "the schedule goes on"
        assert look() == (None, True), "and nothing more is said of it"
        assert len(told.refused) == number
    _refuse_another(context, 3)
    why_not, _ = look()
    assert why_not == "the gate refused 3 candidates, the last because it rejects 4 of 28 good parts"
    assert [line.split()[0] for line in heard] == ["training", "gate", "training", "gate", "training"]
