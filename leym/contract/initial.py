"""Start states: the `initial` of a JobSpec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema, model_validator

from leym.contract.limits import JOB_ID, LIMITS
from leym.contract.model import Model, Real, Whole


def _kind_required(schema: dict[str, Any]) -> None:
    schema["required"] = ["kind", *schema.get("required", ())]


class InitialState(Model):
    """Base class of start states. `kind` has a default in Python; in JSON it is required."""

    model_config = ConfigDict(json_schema_extra=_kind_required)


class ComplexNoise(InitialState):
    """theta ~ strength * N(0, 1) per channel, psi = exp(i theta): the default start, of norm sqrt(d) per cell."""

    kind: Literal["complex_noise"] = "complex_noise"
    strength: Real = Field(default=0.1, ge=0, le=LIMITS.strength)


class RandomState(InitialState):
    """Haar-random unit vectors: re, im ~ N(0, 1) divided by the norm of the cell. In a box: uniform in it."""

    kind: Literal["random"] = "random"


class Zeros(InitialState):
    """All cells are zero; the biases of the law start the dynamics."""

    kind: Literal["zeros"] = "zeros"


class Seed(InitialState):
    """One living cell at the centre of an empty grid: its real channels are 1 from the fourth on (all, for d = 1).

    The real channels of a cell are Re psi_0, …, Re psi_(d-1), Im psi_0, …, Im psi_(d-1). The first three are a colour
    in Mordvintsev et al., "Growing neural cellular automata", Distill (2020), whose seed this is.
    """

    kind: Literal["seed"] = "seed"


_PART: dict[str, Any] = {"type": "number", "minimum": -LIMITS.part, "maximum": LIMITS.part}
Span = Annotated[
    tuple[
        Annotated[Real, Field(ge=-LIMITS.part, le=LIMITS.part)], Annotated[Real, Field(ge=-LIMITS.part, le=LIMITS.part)]
    ],
    WithJsonSchema({"type": "array", "items": _PART, "minItems": 2, "maxItems": 2}),  # without prefixItems, as `Grid`
]


class Smooth(InitialState):
    """Smooth random fields, one for each real part and one for each imaginary part of the channels.

    Each is Gaussian noise, filtered with a Gaussian of standard deviation `scale` on the periodic grid, and mapped by
    its own distribution so that every value of the span is equally frequent.
    """

    kind: Literal["smooth"] = "smooth"
    scale: Real = Field(default=4.0, ge=0.5, le=64, description="standard deviation of the filter, in cells")
    re: Span = Field(default=(-1.0, 1.0), description="[low, high] of the real parts")
    im: Span = Field(default=(-1.0, 1.0), description="[low, high] of the imaginary parts")

    @model_validator(mode="after")
    def _in_order(self) -> Smooth:
        for name, (low, high) in (("re", self.re), ("im", self.im)):
            if low > high:
                raise ValueError(f"{name} = [{low:g}, {high:g}]: the lower value comes first")
        return self


class StoredState(InitialState):
    """Base class of states that another job has stored.

    Attributes:
        job: id of that job, which may be a member of a sweep.
        step: step of the state.
    """

    job: str = Field(pattern=JOB_ID)
    step: Whole = Field(ge=0, le=LIMITS.steps)


class FromJob(StoredState):
    """The state of another job as the step 0 of this one.

    It is stored where `psi` was recorded, at kept states, and at the last step.
    """

    kind: Literal["state"] = "state"


class Continue(StoredState):
    """The state of another job, from which this one goes on counting steps.

    The job computes and records the steps after `step`. Its step numbers, the random numbers of a stochastic law, the
    memory of a recurrent one, and the start state that `overlap` compares with are those of the lineage. So with the
    keys of that job it computes what that job would have computed, bit for bit.
    """

    kind: Literal["continue"] = "continue"


class Upload(InitialState):
    """A state uploaded to `POST /v1/states`, named by its digest."""

    kind: Literal["upload"] = "upload"
    id: str = Field(pattern=r"^[0-9a-f]{64}$")


Drawn = Annotated[ComplexNoise | RandomState | Zeros | Seed | Smooth, Field(discriminator="kind")]
Initial = Annotated[
    ComplexNoise | RandomState | Zeros | Seed | Smooth | FromJob | Continue | Upload, Field(discriminator="kind")
]

_DRAWN: TypeAdapter[Any] = TypeAdapter(Drawn)


def drawn_start(plain: Mapping[str, Any]) -> ComplexNoise | RandomState | Zeros | Seed | Smooth:
    """Return the start state that `WholeStart` holds as plain data."""
    found: ComplexNoise | RandomState | Zeros | Seed | Smooth = _DRAWN.validate_python(plain)
    return found


def _whole(value: Any) -> Any:
    return None if value is None else _DRAWN.validate_python(value).model_dump(mode="json")


# A start state as plain data with every key: as a model it would lose its defaults, `kind` among them, where a document
# is written without defaults.
WholeStart = Annotated[dict[str, Any] | None, BeforeValidator(_whole)]
