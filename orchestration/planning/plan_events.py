"""Events for programs on a plan: what will be trained, why, and what it costs."""

from collections.abc import Sequence

from orchestration.cli.event_records import (
    ChoiceRecord,
    EstimateRecord,
    Explanation,
    PlanEvent,
    PlannedTraining,
    PreviewEvent,
    SearchPlan,
)
from orchestration.cli.status_records import BudgetRecord
from orchestration.cluster.resources import Node, demand
from orchestration.config.choice import Choice
from orchestration.config.schema import BudgetConfig, LabConfig
from orchestration.planning.estimates.cost import Estimate
from orchestration.planning.explain import Reasons
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import ReusableRuns
from orchestration.planning.search_race import count_to_come
from orchestration.planning.seed_rounds import later_trainings
from orchestration.planning.spent import Spent
from orchestration.planning.table import most_concurrent, state_of


def make_plan_event(
    lab: LabConfig,
    plan: Plan,
    nodes: list[Node] | None,
    reusable: ReusableRuns,
    spent: Spent,
    choices: Sequence[Choice],
) -> PlanEvent:
    """Return the plan with the state of each training. nodes: None before a cluster is joined."""
    experiment = lab.experiment
    return PlanEvent(
        name=plan.name,
        folder=str(plan.folder),
        experiment=None if experiment is None else experiment.name,
        baseline=None if experiment is None else experiment.baseline,
        arms=tuple(plan.arms),
        seeds=tuple(dict.fromkeys(trial.seed for trial in plan.trials)),
        until=None if experiment is None else experiment.until,
        metrics=() if experiment is None else experiment.metrics,
        trainings=_trainings(lab, plan, reusable),
        search=_search(plan),
        max_concurrent=None if nodes is None else most_concurrent(lab, plan, nodes),
        device=None if nodes is None else demand(lab.cluster, nodes).device,
        saved_steps=sum(prefix.step for prefix in plan.prefixes.by_identity.values()),
        budget=budget_records(lab.budget, spent),
        choices=tuple(ChoiceRecord(topic=each.topic, by_hand=each.by_hand, reason=each.reason) for each in choices),
        notes=(*plan.notes, *([reusable.note] if reusable.note else ())),
    )


def make_preview_event(reasons: Sequence[Reasons], estimates: Sequence[Estimate], lines: Sequence[str]) -> PreviewEvent:
    """Return what a dry run shows."""
    return PreviewEvent(
        explanations=tuple(
            Explanation(identity=each.trial.identity, label=each.trial.label, reasons=tuple(each.texts))
            for each in reasons
        ),
        estimates=tuple(
            EstimateRecord(
                part=each.part or "all",
                wall_seconds=each.wall_seconds if each.known else None,
                cpu_hours=each.cpu_hours if each.known else None,
                gpu_hours=each.gpu_hours if each.known else None,
                trainings=each.trainings,
                known=each.known,
                sources=each.sources,
            )
            for each in estimates
        ),
        lines=tuple(lines),
    )


def _trainings(lab: LabConfig, plan: Plan, reusable: ReusableRuns) -> tuple[PlannedTraining, ...]:
    later = later_trainings(plan, lab.experiment)
    return tuple(
        PlannedTraining(
            index=index,
            identity=trial.identity,
            label=trial.label,
            seed=trial.seed,
            arms=tuple(trial.arms),
            steps=None if trial.is_coverage else trial.config.schedule.steps,
            state=state_of(plan, trial, reusable, reuse=lab.reuse),
            later=trial.identity in later,
        )
        for index, trial in enumerate(plan.trials)
    )


def _search(plan: Plan) -> SearchPlan | None:
    search = plan.search
    if search is None:
        return None
    return SearchPlan(
        metrics=search.config.metrics,
        modes=tuple(search.modes),
        searcher=search.strategy.searcher,
        trials=search.config.trials,
        to_come=count_to_come(plan),
    )


def budget_records(limits: BudgetConfig, spent: Spent) -> tuple[BudgetRecord, ...]:
    """Return the hours of all commands so far with their limits."""
    return (
        BudgetRecord(name="gpu_hours", limit=limits.gpu_hours, spent=spent.gpu),
        BudgetRecord(name="cpu_hours", limit=limits.cpu_hours, spent=spent.cpu),
        BudgetRecord(name="wall_hours", limit=limits.wall_hours, spent=spent.wall),
    )
