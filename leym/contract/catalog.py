"""Fields and observables that a job can record: names, units and formulas. `leym.physics` computes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldInfo:
    """Description of a field, a quantity per cell.

    Attributes:
        units: unit of the values; "1" if they have none.
        formula: definition of the quantity, in ASCII.
        dtypes: dtypes that a recording may choose; the first is the default.
        per_channel: frames are [H, W, d] instead of [H, W].
        components: frames are [H, W, components]; None for a field without.
        bounds: range of values that pictures map to colours.
        cyclic: the ends of the range are the same value, as for an angle.
        note: a remark for readers of the results.
    """

    units: str
    formula: str
    dtypes: tuple[str, ...]
    per_channel: bool = False
    components: int | None = None
    bounds: tuple[float, float] | None = None
    cyclic: bool = False
    note: str = ""

    def depth(self, d_state: int) -> int | None:
        """Return the length of a frame's last dimension for d channels per cell; None for frames [H, W]."""
        return d_state if self.per_channel else self.components


REAL = ("float32", "float16")
ONE_CHANNEL = "with d = 1, cells are (psi, 1): a constant second channel makes their phases visible"

FIELDS: dict[str, FieldInfo] = {
    "psi": FieldInfo("1", "psi_c", ("complex64",), per_channel=True),
    "phase": FieldInfo(
        "rad",
        "atan2(mean_c sin arg psi_c, mean_c cos arg psi_c)",
        REAL,
        bounds=(-3.141592653589793, 3.141592653589793),
        cyclic=True,
    ),
    "channel_power": FieldInfo("1", "p_c = |psi_c|^2 / sum_k |psi_k|^2", REAL, per_channel=True, bounds=(0.0, 1.0)),
    "channel_entropy": FieldInfo("1", "S = -sum_c p_c log p_c / log d", REAL, bounds=(0.0, 1.0)),
    "coherence": FieldInfo(
        "1",
        "mean over the 4-neighbours inside the grid of |<psi_x, psi_y>| / (|psi_x| |psi_y|)",
        REAL,
        bounds=(0.0, 1.0),
        note=ONE_CHANNEL,
    ),
    "activity": FieldInfo(
        "1",
        "1 - |<psi_(t-1), psi_t>| / (|psi_(t-1)| |psi_t|); 0 at step 0",
        REAL,
        bounds=(0.0, 1.0),
        note=ONE_CHANNEL,
    ),
    "density": FieldInfo(
        "1",
        "sum_c |psi_c|^2",
        REAL,
        bounds=(0.0, 1.0),
        note="identically 1 after the first step, if the law has the constraint unit",
    ),
    "rgb": FieldInfo(
        "1",
        "1 - min(max(x_3, 0), 1) + (x_0, x_1, x_2), with x = (Re psi_0, ..., Re psi_(d-1), Im psi_0, ...)",
        REAL,
        components=3,
        bounds=(0.0, 1.0),
        note="the first four real channels as red, green, blue (times opacity) and opacity, over white; for laws that"
        " were taught pictures",
    ),
}

OBSERVABLES: dict[str, str] = {
    "channel_entropy": "spatial mean of the channel_entropy field",
    "channel_entropy_sd": "spatial standard deviation of the channel_entropy field",
    "coherence": "spatial mean of the coherence field",
    "coherence_sd": "spatial standard deviation of the coherence field",
    "activity": "spatial mean of the activity field",
    "activity_sd": "spatial standard deviation of the activity field",
    "overlap": "mean over cells of |<psi_0, psi_t>|^2 / (|psi_0|^2 |psi_t|^2)",
}

# Old name -> current name. An old name is still accepted, and recorded under the name that the job asks for.
RENAMED_OBSERVABLES = {"fidelity": "overlap"}


def current_observable(name: str) -> str:
    """Return the name that an observable has today; only a renamed one differs."""
    return RENAMED_OBSERVABLES.get(name, name)


def first_observable(name: str) -> str:
    """Return the first name that an observable had; only a renamed one differs."""
    first = {current: old for old, current in RENAMED_OBSERVABLES.items()}
    return first.get(name, name)
