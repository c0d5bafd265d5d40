"""Fields and observables that a job can record, and views of recorded fields: names, units and formulas.

`leym.physics` computes fields and observables while a job runs, `leym.frames.views` computes views when they are read.
"""

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
        compares: its values compare a step with the one before it.
        note: a remark for readers of the results.
    """

    units: str
    formula: str
    dtypes: tuple[str, ...]
    per_channel: bool = False
    components: int | None = None
    bounds: tuple[float, float] | None = None
    cyclic: bool = False
    compares: bool = False
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
        compares=True,
        note=ONE_CHANNEL,
    ),
    "flow": FieldInfo(
        "1",
        "sqrt(sum_c |psi_c(t) - psi_c(t-1)|^2); 0 at step 0",
        REAL,
        bounds=(0.0, 1.0),
        compares=True,
        note="the length of the last update; unlike activity it sees a turn of all phases",
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


@dataclass(frozen=True)
class ViewInfo(FieldInfo):
    """Description of a view, a quantity per cell that is computed from recorded fields when it is read.

    Attributes:
        sources: fields to compute it from; each tuple suffices, and the first one that is recorded is used.
        dims: names of the dimensions of a frame, without the last one of a view with channels or components.
    """

    sources: tuple[tuple[str, ...], ...] = (("psi",),)
    dims: tuple[str, str] = ("y", "x")


VIEWS: dict[str, ViewInfo] = {
    "real": ViewInfo("1", "Re psi_c", REAL[:1], per_channel=True, bounds=(-1.0, 1.0)),
    "imag": ViewInfo("1", "Im psi_c", REAL[:1], per_channel=True, bounds=(-1.0, 1.0)),
    "gradient": ViewInfo(
        "1/cell",
        "sqrt(sum_c |d psi_c / dx|^2 + |d psi_c / dy|^2), central differences, one-sided at the edges",
        REAL[:1],
        bounds=(0.0, 1.0),
    ),
    "spectrum": ViewInfo(
        "1",
        "log10 of sum_c |FFT2 psi_c|^2 / (H W)^2, at least -12; k = 0 at [H // 2, W // 2]",
        REAL[:1],
        bounds=(-8.0, 0.0),
        dims=("ky", "kx"),
    ),
    "hsv": ViewInfo(
        "1",
        "red, green, blue of the hue phase / 2 pi, saturation 1, value min(sqrt(density), 1)",
        REAL[:1],
        components=3,
        bounds=(0.0, 1.0),
        sources=(("psi",), ("phase", "density")),
    ),
    "pca": ViewInfo(
        "1",
        "1/2 + score_j / (4 sd_j), clipped to [0, 1], of the first 3 principal components j of the 2d real channels",
        REAL[:1],
        components=3,
        bounds=(0.0, 1.0),
        note="components of all cells of the selected frames together; the largest weight of each is positive",
    ),
}


def shown_info(name: str) -> FieldInfo:
    """Return the description of a field or a view. Raises KeyError for another name."""
    return FIELDS[name] if name in FIELDS else VIEWS[name]


@dataclass(frozen=True)
class ObservableInfo:
    """Description of an observable, a quantity per step.

    Attributes:
        formula: definition of the quantity, in ASCII.
        units: unit of the values; "1" if they have none.
        default: computed if a job observes without naming observables. New ones never are, so that the same request
            means the same job in every version.
        compares: its values compare a step with the one before it.
    """

    formula: str
    units: str = "1"
    default: bool = False
    compares: bool = False


def _moments(field: str) -> dict[str, ObservableInfo]:
    """Describe the mean and the standard deviation of a field."""
    return {
        f"{field}{suffix}": ObservableInfo(
            f"spatial {moment} of the {field} field", default=True, compares=FIELDS[field].compares
        )
        for suffix, moment in (("", "mean"), ("_sd", "standard deviation"))
    }


OBSERVABLES: dict[str, ObservableInfo] = {
    **_moments("channel_entropy"),
    **_moments("coherence"),
    **_moments("activity"),
    "overlap": ObservableInfo("mean over cells of |<psi_0, psi_t>|^2 / (|psi_0|^2 |psi_t|^2)", default=True),
    "correlation_length": ObservableInfo(
        "sum_k S(k) / (2 pi sum_k |k| S(k)), k != 0 in cycles per cell, S(k) = sum_c |FFT2 psi_c|^2 / (H W)^2;"
        " at most max(H, W) / pi, its value for a uniform state",
        units="cells",
    ),
    "peak_wavenumber": ObservableInfo(
        "argmax over k >= 1 of E(k), the sum of S over the wave vectors whose length rounds to k"
        " (a shorter one counts for k = 1); 0 for a uniform state",
        units="cycles per shorter side",
    ),
    "multiscale_complexity": ObservableInfo(
        "sum over k >= 1 of (O_k - O_(k+1)) / 2, divided by O_0; O_k = mean over cells of |psi|^2"
        " after k averages over 2 x 2 cells",
    ),
    "domain_walls": ObservableInfo(
        "pairs of 4-neighbours inside the grid with unlike strongest channels / all such pairs"
        " (d = 1: with unlike signs of Re psi)",
    ),
    "vortices": ObservableInfo("number of plaquettes of 2 x 2 cells around which phase winds by +2 pi", units="count"),
    "antivortices": ObservableInfo(
        "number of plaquettes of 2 x 2 cells around which phase winds by -2 pi", units="count"
    ),
}

DEFAULT_OBSERVABLES = tuple(name for name, info in OBSERVABLES.items() if info.default)

# Old name -> current name. An old name is still accepted, and recorded under the name that the job asks for.
RENAMED_OBSERVABLES = {"fidelity": "overlap"}


def current_observable(name: str) -> str:
    """Return the name that an observable has today; only a renamed one differs."""
    return RENAMED_OBSERVABLES.get(name, name)


def first_observable(name: str) -> str:
    """Return the first name that an observable had; only a renamed one differs."""
    first = {current: old for old, current in RENAMED_OBSERVABLES.items()}
    return first.get(name, name)
