"""Checks the recipe of a training before it becomes a job."""

from __future__ import annotations

from math import prod

from pydantic import ValidationError

from app.errors import excerpt, validation_problem
from app.validation import ValidJob
from leym.contract.limits import LIMITS
from leym.contract.problems import Problem
from leym.contract.training_spec import TrainingRequest, TrainingSpec
from leym.training.objective_settings import TEACHER_NAMES, GrowthSettings, TeacherSettings
from leym.training.pictures import DRAWN
from leym.training.recipe import Recipe


def validate_training(request: TrainingRequest) -> ValidJob:
    """Return the job that trains a law by a recipe.

    Whether the objective fits the law is checked by the worker, since that needs the teachers themselves.

    Raises:
        Problem: 422 with the key, its value and the limit.
    """
    plain = request.plain_recipe()
    try:
        recipe = Recipe.model_validate(plain)
    except ValidationError as error:
        raise validation_problem(error, body=plain, base="/recipe") from error
    _check_teacher(recipe)
    _check_picture(recipe)
    train, law = recipe.train, recipe.law
    pool = train.pool * 2 * law.d_state * prod(train.grid) * 4
    if pool > LIMITS.training_bytes:
        detail = f"train.pool = {train.pool}: its states take {pool} bytes; the limit is {LIMITS.training_bytes}"
        raise _refusal("/recipe/train/pool", detail)
    height, width = train.grid
    spec = TrainingSpec(**request.model_dump(), law=recipe.name, grid=(height, width), steps=train.updates)
    return ValidJob(spec, recipe.name, train.precision, law.d_state, "unverified")


def _check_teacher(recipe: Recipe) -> None:
    objective = recipe.objective
    if isinstance(objective, TeacherSettings) and objective.teacher not in TEACHER_NAMES:
        detail = f"objective.teacher = {excerpt(objective.teacher)}: expected one of {', '.join(TEACHER_NAMES)}"
        raise _refusal("/recipe/objective/teacher", detail)


def _check_picture(recipe: Recipe) -> None:
    """Refuse the path of a picture: it would be a file of the service's machine."""
    objective = recipe.objective
    if isinstance(objective, GrowthSettings) and objective.picture not in DRAWN:
        shown = f"objective.picture = {excerpt(objective.picture)}"
        detail = f"{shown}: a service has {', '.join(DRAWN)}; pictures of your own need `leym train`"
        raise _refusal("/recipe/objective/picture", detail)


def _refusal(pointer: str, detail: str) -> Problem:
    return Problem(422, "Invalid request", detail, errors=[{"pointer": pointer, "detail": detail}])
