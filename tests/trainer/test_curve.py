"""A training's line for people is read back as a point of its curve; few of them become events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainer.training.curve import POINTS, Curve, Point, line_of, point_in, telling


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0, 1e6))
def test_what_is_written_is_read_back(step: int, of: int, loss: float) -> None:
    found = point_in(line_of(Point(step, of, loss)))
    assert found is not None
    assert (found.step, found.of) == (step, of)
    assert abs(found.loss - loss) <= 0.0005001


def test_a_long_training_has_few_events_with_its_first_and_last_step() -> None:
    said: list[tuple[float, str, str, dict[str, float] | None]] = []
    tick = telling(lambda *told: said.append(told), 0.1, 0.8)
    tick(0.0, "loading a model")
    for step in range(1, 5001):
        tick(step / 5000, line_of(Point(step, 5000, 1 / step)))
    assert len(said) == 5001, "progress is passed on as it comes"
    events = [data for _, _, message, data in said if message]
    steps = [data["step"] for data in events if data]
    assert steps[0] == 1
    assert steps[-1] == 5000
    assert len(steps) <= POINTS + 2
    assert said[-1][0] == 0.9
    assert Curve().event("calibrating on 40 calls") is None
