"""Checks of tasks that may train a model with torch: what it is made from, what it learns from, who will serve it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from gateway.config import Ensemble, Learn, Task
from gateway.money.pricing import price_of
from gateway.policy.reading import Path, Problem
from gateway.policy.view import View

_GENERATIVE = ("sft", "distill", "dpo")


def generative(view: View) -> Iterator[Problem]:
    """What a training would only find out hours later."""
    for path, task in view.clean("tasks"):
        if task.learn is None:
            continue
        here = (*path, "learn")
        if task.learn.fine_tune is not None and task.learn.encoder is None:
            hint = "Add 'encoder: /path/of/a/sentence/encoder', or leave 'fine_tune' out."
            yield view.problem((*here, "fine_tune"), "there is no encoder to train.", hint)
        yield from _search(view, here, task.learn)
        yield from _candidates(view, here, task.learn)
        named = [one for one in _GENERATIVE if one in task.learn.recipes]
        if named and task.learn.generative is None:
            hint = "Add 'generative: {base: /path/of/a/model}'."
            yield view.problem((*here, "recipes"), f"'{named[0]}' needs a base model to train.", hint)
        if task.learn.generative is not None:
            logprobs = task.capture.logprobs if task.capture is not None else 0
            yield from _lessons(view, here, task.learn, named, logprobs)


def clusters(view: View) -> Iterator[Problem]:
    """A cluster is spoken to in its own language."""
    if view.config.cluster is not None and find_spec("ray") is None:
        hint = "pip install 'understudy[ray]', or leave 'cluster' out."
        yield view.problem(("cluster", "address"), "a cluster needs the package ray, which is not installed.", hint)


def ensembles(view: View) -> Iterator[Problem]:
    """Several teachers: who may be asked, and what their votes may be used for."""
    for path, task in view.clean("tasks"):
        rules = task.learn.ensemble if task.learn is not None else None
        if rules is None:
            continue
        here = (*path, "learn", "ensemble")
        for index, one in enumerate(rules.teachers):
            if one.provider not in view.config.providers:
                hint = "Add it to 'providers:' in gateway.yaml."
                yield view.problem(
                    (*here, "teachers", index, "provider"), f"no provider is named '{one.provider}'.", hint
                )
            elif task.teacher is not None and (one.provider, one.model) == (task.teacher.provider, task.teacher.model):
                yield view.problem((*here, "teachers", index), "it is the task's teacher, which votes anyway.")
        yield from _ensemble_judge(view, (*here, "judge"), task, rules)
        if task.learn is not None and task.learn.calibration == "crossfit":
            hint = "Use 'calibration: split'."
            yield view.problem(here, "cross-fitted rows calibrate, so they must stay the teacher's answers.", hint)


def _ensemble_judge(view: View, here: Path, task: Task, rules: Ensemble) -> Iterator[Problem]:
    judge = rules.judge
    if judge is None:
        return
    voters = [(one.provider, one.model) for one in rules.teachers]
    if task.teacher is not None:
        voters.append((task.teacher.provider, task.teacher.model))
    if judge.provider not in view.config.providers:
        hint = "Add it to 'providers:' in gateway.yaml."
        yield view.problem((*here, "provider"), f"no provider is named '{judge.provider}'.", hint)
    elif (judge.provider, judge.model) in voters:
        yield view.problem(here, "it would judge its own answers.", "Name a model that is none of the teachers.")


def synthetics(view: View) -> Iterator[Problem]:
    """Synthetic calls: a budget in money needs a price, and slices by metadata cannot be written for."""
    for path, task in view.clean("tasks"):
        rules, teacher = (task.learn.synthetic if task.learn is not None else None), task.teacher
        if rules is None or teacher is None:
            continue
        here = (*path, "learn", "synthetic")
        if not teacher.may_train_on_outputs:
            hint = "Read the terms, then set teacher.may_train_on_outputs: true, or leave 'synthetic' out."
            yield view.problem(here, "nothing may be trained on what the teacher would write.", hint)
        profile = getattr(view.config.providers.get(teacher.provider), "profile", "")
        if price_of(view.config.prices, teacher.provider, profile, teacher.model) is None:
            hint = f"Add 'prices: {{{teacher.provider}: {{{teacher.model}: {{input: ..., output: ...}}}}}}'."
            message = f"the price of {teacher.provider}/{teacher.model} is unknown, so no budget could hold."
            yield view.problem((*here, "budget_usd_day"), message, hint)


def _search(view: View, here: Path, learn: Learn) -> Iterator[Problem]:
    if learn.search is None:
        return
    if learn.search.budget_usd is not None and not learn.search.usd_per_hour:
        hint = "Add 'usd_per_hour', or bound the search by 'max_minutes' and 'trials' alone."
        yield view.problem((*here, "search", "budget_usd"), "what an hour costs is not said.", hint)
    if find_spec("skopt") is None:
        hint = "pip install 'understudy[search]'"
        yield view.problem((*here, "search"), "a search needs the package scikit-optimize.", hint)


def _candidates(view: View, here: Path, learn: Learn) -> Iterator[Problem]:
    named: set[str] = set() if learn.recipes == "auto" else set(learn.recipes)
    varied = learn.encoder is not None and learn.features == "auto" and not named <= set(_GENERATIVE)
    if learn.candidates is not None and len(named) == 1 and not varied:
        hint = "Name more recipes, or an encoder whose features can be left out, or leave 'candidates' out."
        message = f"'{learn.recipes[0]}' alone makes one candidate a round."
        yield view.problem((*here, "candidates"), message, hint)
    if learn.candidates is not None and learn.candidates.together > learn.candidates.most:
        message = f"{learn.candidates.together} of {learn.candidates.most} candidates cannot be proven side by side."
        yield view.problem((*here, "candidates", "together"), message, "Raise 'most', or lower 'together'.")


def _lessons(view: View, here: Path, learn: Learn, named: list[str], logprobs: int) -> Iterator[Problem]:
    plan = learn.generative
    assert plan is not None
    if named and learn.calibration == "crossfit":
        yield view.problem(
            (*here, "calibration"), "a language model is not cross-fitted.", "Use 'calibration: split'."
        )
    if plan.adapt == "qlora" and find_spec("bitsandbytes") is None:
        hint = "pip install 'understudy[qlora]', or use 'adapt: lora'."
        yield view.problem((*here, "generative", "adapt"), "four bits need the package bitsandbytes.", hint)
    if "distill" in named and not plan.distillation.teacher and not logprobs:
        hint = "Set capture.logprobs (up to 20), or generative.distillation.teacher to a local model."
        yield view.problem((*here, "recipes"), "'distill' has no teacher whose tokens it could see.", hint)
    if plan.distillation.on_policy and not plan.distillation.teacher:
        hint = "Set generative.distillation.teacher to a local model, or leave on_policy out."
        path = (*here, "generative", "distillation", "on_policy")
        yield view.problem(path, "only a local teacher can score what the student writes itself.", hint)
    engines = view.config.engines
    if engines.vllm is None and engines.transformers is None:
        hint = "Add 'engines: {transformers: {}}' to gateway.yaml, or 'engines: {vllm: {base, python}}'."
        yield view.problem((*here, "generative"), "no engine could serve a language model.", hint)
