"""First steps with equal learning rates, found for any two schedules."""

from hypothesis import given
from hypothesis import strategies as st

from fcos.config.run import ScheduleConfig
from fcos.training.lr_factor import lr_factor
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.experiment.common_steps import common_steps

KEYS = ("steps", "warmup", "warmup_steps", "warmup_factor", "decay", "milestones", "decay_factor")


def schedule(**keys: object) -> ScheduleConfig:
    return ScheduleConfig(**{"batch_size": 8, "optimizer": "sgd", "decay": "none", **keys})


def rates(of: ScheduleConfig) -> list[float]:
    factor = lr_factor(**{key: getattr(of, key) for key in KEYS})
    return [factor(step) for step in range(of.steps)]


@st.composite
def schedules(draw: st.DrawFn) -> ScheduleConfig:
    steps, decay = draw(st.integers(4, 12)), draw(st.sampled_from(["step", "cosine", "none"]))
    milestones = sorted(draw(st.sets(st.integers(1, steps - 1), min_size=1, max_size=2))) if decay == "step" else ()
    return schedule(
        steps=steps,
        decay=decay,
        milestones=tuple(milestones),
        decay_factor=draw(st.sampled_from([0.1, 0.5, 1.0])),
        warmup=draw(st.sampled_from(["linear", "constant"])),
        warmup_steps=draw(st.integers(0, 3)),
        warmup_factor=draw(st.sampled_from([0.25, 1.0])),
    )


@given(schedules(), schedules())
def test_rates_are_equal_up_to_there_and_differ_in_the_next_step(one: ScheduleConfig, other: ScheduleConfig) -> None:
    count = common_steps(one, other)
    assert count == common_steps(other, one)
    ours, theirs = rates(one), rates(other)
    assert ours[:count] == theirs[:count]
    assert ours[count : count + 1] != theirs[count : count + 1] or count == min(len(ours), len(theirs))


@given(schedules())
def test_a_schedule_has_all_steps_in_common_with_itself(one: ScheduleConfig) -> None:
    assert common_steps(one, one) == one.steps


def test_the_longer_recipes_share_the_steps_before_the_first_milestone_that_differs() -> None:
    once, twice, four_times = (compose(check_overrides([f"schedule=paper_{times}x"])).schedule for times in (1, 2, 4))
    assert common_steps(once, twice) == common_steps(once, four_times) == 60_000
    assert common_steps(twice, four_times) == 120_000
    assert common_steps(four_times, four_times) == 360_000
    # Seconds would be too long for a plan; it takes a fraction of one.
