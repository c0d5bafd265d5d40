"""Stop rules of a sweep: conditions that end a member before its last step and free its slot."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from leym.contract.catalog import OBSERVABLES, RENAMED_OBSERVABLES, current_observable
from leym.contract.limits import LIMITS
from leym.contract.model import Model, Real, Whole
from leym.contract.spec import JobSpec


class Threshold(Model):
    """A bound on an observable: exactly one of `below` and `above`."""

    observable: str = Field(json_schema_extra={"enum": [*OBSERVABLES, *RENAMED_OBSERVABLES]})
    below: Real | None = Field(None, description="true while the observable is under this value")
    above: Real | None = Field(None, description="true while the observable is over this value")

    @field_validator("observable")
    @classmethod
    def _known(cls, name: str) -> str:
        if current_observable(name) not in OBSERVABLES:
            raise ValueError(f"unknown observable {name!r}; known: {', '.join(OBSERVABLES)}")
        return name

    @model_validator(mode="after")
    def _one_bound(self) -> Threshold:
        if (self.below is None) == (self.above is None):
            raise ValueError(f"a rule on {self.observable!r} needs exactly one of below and above")
        return self


class StopRule(Model):
    """A condition that ends a member as soon as it has held for `for` recordings in a row."""

    model_config = ConfigDict(
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        json_schema_extra={"examples": [{"when": "frozen", "for": 5}]},
    )

    when: Literal["frozen", "collapsed", "non_finite", "cycle"] | Threshold = Field(
        description="`frozen`: nothing changes any more. `collapsed`: all cells are in one state. `non_finite`: NaN or"
        " infinity; such a member fails, with or without this rule. `cycle`: the state of an earlier recording returned"
        " exactly. Or a threshold on an observable, which"
        " must be observed"
    )
    recordings: Whole = Field(
        5, ge=1, le=LIMITS.frames, alias="for", description="recordings in a row; step 0 does not count"
    )

    @model_validator(mode="before")
    @classmethod
    def _threshold_beside_for(cls, data: Any) -> Any:
        """Accept the keys of a threshold beside `for` too: `{"observable": "activity", "below": 0.01, "for": 5}`."""
        if not isinstance(data, dict) or "when" in data or "observable" not in data:
            return data
        inside = {key: data[key] for key in Threshold.model_fields if key in data}
        return {"when": inside} | {key: value for key, value in data.items() if key not in inside}

    @property
    def threshold(self) -> Threshold | None:
        """Threshold of the rule; None for a rule about the state."""
        return self.when if isinstance(self.when, Threshold) else None


Stop = Annotated[tuple[StopRule, ...], Field(max_length=LIMITS.stop_rules)]


class StopRuleError(ValueError):
    """A stop rule looks at something that the members do not record.

    Attributes:
        pointer: JSON pointer of the rule in the sweep.
    """

    def __init__(self, detail: str, rule: int):
        super().__init__(detail)
        self.pointer = f"/stop/{rule}/when"


def check_stop_rules(rules: tuple[StopRule, ...], spec: JobSpec) -> None:
    """Check that a member with this spec records what the rules look at.

    Raises:
        StopRuleError: names the rule and what it needs.
    """
    observed = {current_observable(name) for name in spec.observe.names} if spec.observe else set()
    for i, rule in enumerate(rules):
        if rule.threshold and current_observable(rule.threshold.observable) not in observed:
            named = ", ".join(sorted(observed)) or "nothing"
            raise StopRuleError(
                f"stop.{i}.when.observable = {rule.threshold.observable!r} is not observed; observe.names has {named}",
                i,
            )
        if not rule.threshold and not spec.observe and not spec.record:
            raise StopRuleError(
                f"stop.{i}.when = {rule.when!r} is checked at recordings, and the jobs record nothing", i
            )
