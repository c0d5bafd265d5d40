"""Models of laws and of their fidelity verdicts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from app.models.base import Body, Parameters, Query, Verdict
from leym.contract.model import Model
from leym.contract.spec import LAW_NAME, Whole
from leym.laws.bundle import NAME


class BoxBody(Body):
    """A constraint that keeps every real channel in an interval."""

    box: list[float] = Field(min_length=2, max_length=2, description="[low, high]", examples=[[0.0, 1.0]])


class LivingBody(Body):
    """A mask that empties cells without a living cell among themselves and their eight neighbours."""

    channel: int = Field(description="real channel that says how alive a cell is: real parts first, then imaginary")
    above: float = Field(description="value that it must exceed")


class LawBody(Body):
    """One version of a law."""

    name: str
    digest: str
    ref: str = Field(description="name@digest, which identifies these exact weights")
    architecture: str
    form: str
    d_state: int
    hidden_channels: int
    parameters: int
    grid_multiple: int = Field(description="number that both sides of a grid must be divisible by")
    boundary: str
    constraint: Literal["unit", "none"] | BoxBody = Field(
        description="bound of the state after each step: unit (norm 1 per cell), none, or a box"
    )
    living: LivingBody | None = Field(description="the law's living mask; null for most laws")
    options: dict[str, Any] = Field(
        description="options of the network, including defaults", examples=[{"padding": "circular"}]
    )
    memory: bool = Field(description="true if the network has a state of its own in addition to the cells")
    policy: dict[str, dict[str, str]] = Field(
        description="number formats that this law chooses itself, per precision",
        examples=[{"nf4": {"backbone": "int8"}}],
    )
    codes: dict[str, str] = Field(
        description="precisions that this law has codes of its own for, with the sha256 of the decoded weights",
        examples=[{"nf4": "4be1d5c0" * 8}],
    )
    start: dict[str, Any] = Field(
        description="start state of jobs that name none", examples=[{"kind": "complex_noise", "strength": 0.1}]
    )
    description: str
    provenance: dict[str, Any] = Field(examples=[{"script": "examples/make_aurora.py"}])
    versions: list[str] = Field(description="name@digest of every stored version, newest first")
    preview: str | None = Field(description="path of an animation of the law; null if its bundle carries none")
    temporary_until: str | None = Field(
        description="when a drawn law is removed unless somebody keeps it; null for a law that stays"
    )


class LawList(Body):
    """The newest version of every law."""

    items: list[LawBody]
    next: str | None = None


class VerdictBody(Body):
    """Summary of the fidelity verdict on one precision of a law."""

    precision: str
    verdict: Verdict
    reasons: list[str] = Field(description="why the verdict is not a pass")
    metrics: dict[str, dict[str, Any]] = Field(
        description="each metric's effect, confidence interval and outcome",
        examples=[{"activity": {"outcome": "pass", "effect": 0.004, "low": -0.01, "high": 0.02}}],
    )
    members: int = Field(description="number of universes per ensemble")
    power: float | None = Field(
        description="smallest power of the deciding metrics: the probability that each passes without an effect"
    )
    members_needed: int | None = Field(description="members per ensemble for which that power is 0.8")
    regime: str | None = Field(
        description="frozen, periodic, chaotic, waves or undecided, in fp32; null in earlier verdicts"
    )
    created: str


class FidelityList(Body):
    """The verdicts on a law's precisions."""

    items: list[VerdictBody]
    next: str | None = None


class LawPath(Parameters):
    """Path of a law, or of one version of it."""

    name: str = Field(max_length=130, description="name or name@digest")


class NewLawPath(Parameters):
    """Path of a law to add."""

    name: str = Field(pattern=NAME)


class RemovableLawPath(Parameters):
    """Path of a law, or of one version of it, to remove."""

    name: str = Field(pattern=LAW_NAME, description="name or name@digest")


class FidelityPath(LawPath):
    """Path of the verdict on one precision of a law."""

    precision: Literal["nf4", "int8", "bf16"]


class FormatQuery(Query):
    """Query that selects the format of a verdict."""

    format: Literal["json", "html"] = "json"


class DigestQuery(Query):
    """Query that guards an upload against damage."""

    digest: str | None = Field(
        None, pattern=r"^[0-9a-f]{8,64}$", description="expected digest of the law, or its start"
    )


class ImportFields(Query):
    """Form fields for facts that a checkpoint does not contain. All are checked against the checkpoint."""

    architecture: str | None = Field(None, max_length=64)
    d_state: int | None = Field(None, ge=1, le=256)
    hidden_channels: int | None = Field(None, ge=1, le=4096)
    form: Literal["additive", "diagonal", "antisymmetric"] | None = None
    resize_antialias: bool | None = Field(
        None, description="whether an SNN_UNET was downsampled with antialiasing; required for this architecture"
    )


class DrawRequest(Model):
    """Request for laws with random weights."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"count": 24, "seed": 1}]})

    architecture: Literal["NCA", "MLP", "DEEP_QCA"] = "NCA"
    d_state: Whole = Field(3, ge=1, le=16, description="complex channels of a cell")
    hidden: Whole = Field(32, ge=1, le=256, description="width of the network")
    count: Whole = Field(24, ge=1, le=64, description="number of laws")
    seed: Whole = Field(0, ge=0, le=2**31, description="of the first law; the next ones have the next seeds")
    boundary: Literal["periodic", "zero"] = Field("periodic", description="only NCA has the periodic one")
