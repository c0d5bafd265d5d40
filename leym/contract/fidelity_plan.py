"""What is fixed before anything is run: sizes, times, seeds, margins and the metrics that decide. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, replace

DYNAMICS = ("activity", "memory_short", "lyapunov")
SMALL = ("entropy", "entropy_sd", "pair_coherence", "wavenumber", "domain_walls", "multiscale_entropy", "compression")
STANDARD = (
    *SMALL,
    "domains",
    "largest_domain",
    "domain_euler",
    "multiscale_power",
    "ordinal_entropy",
    "ordinal_complexity",
    "ordinal_entropy_power",
    "series",
    "memory_long",
)
RENAMED_METRICS = {"coherence": "pair_coherence"}  # old name -> current name; plans and stored verdicts may use the old


def current_name(metric: str) -> str:
    """Return the name that a metric has today; only a renamed one differs."""
    return RENAMED_METRICS.get(metric, metric)


@dataclass(frozen=True)
class Plan:
    """A pre-registered design; everything of it is kept in the verdict.

    deciding: metrics that must all pass; the others are reported. spin_up, steps: steps discarded and steps in all;
    pilot: members of a pilot ensemble whose spread decides how many `members` there will be, `most` at most; 0 to have
    just `members`. every: steps between two frames; seed: of the first baseline member, the second baseline starts at
    seed + members. margin: of the effect, in units of the scale; alpha: of each one-sided test. pairs, paired_steps:
    members and steps of the short-range comparison. perturbation: root mean square over cells of |psi' - psi| at the
    beginning of each round of the Lyapunov exponent; it is well above what bf16 operands resolve, so the exponent is
    one of finite size.
    rounds of `round_steps` steps, the first `settle` of which only align the perturbation. damage: share of the weights
    set to zero in the control that must fail, 0 to leave it out.
    """

    grid: tuple[int, int] = (64, 64)
    members: int = 64
    pilot: int = 0
    most: int = 256
    spin_up: int = 200
    steps: int = 600
    every: int = 20
    gamma: float = 0.01
    seed: int = 1_000_000
    margin: float = 0.05
    alpha: float = 0.05
    deciding: tuple[str, ...] = STANDARD + DYNAMICS
    pairs: int = 8
    paired_steps: int = 32
    perturbation: float = 0.01
    rounds: int = 24
    settle: int = 4
    round_steps: int = 2
    damage: float = 0.1
    information: bool = False
    permutations: int = 999

    def __post_init__(self) -> None:
        object.__setattr__(self, "deciding", tuple(map(current_name, self.deciding)))
        if self.frames < 5:
            raise ValueError(
                f"steps = {self.steps}: {self.frames} frames, every {self.every} steps after spin_up = {self.spin_up};"
                " a plan needs at least 5"
            )
        if self.spin_up % self.every or self.steps % self.every:
            raise ValueError(
                f"steps = {self.steps} and spin_up = {self.spin_up} must be multiples of every = {self.every}"
            )
        if not 2 <= self.pairs <= self.members:
            raise ValueError(f"pairs = {self.pairs} is outside [2, {self.members}]")
        if not 0 <= self.settle < self.rounds:
            raise ValueError(f"settle = {self.settle} of {self.rounds} rounds leaves none to measure")

    @property
    def frames(self) -> int:
        """Frames of a member: at spin_up + every, …, steps."""
        return (self.steps - self.spin_up) // self.every

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.members)

    @property
    def reference_seeds(self) -> range:
        """Seeds of the reference, the second baseline; disjoint from those of the first."""
        return range(self.seed + self.members, self.seed + 2 * self.members)

    @property
    def pilot_seeds(self) -> range:
        return range(self.seed - self.pilot, self.seed)

    def candidate_seeds(self, *, same: bool) -> range:
        """Those of the first baseline; seeds of its own for a candidate that is the baseline."""
        return range(self.seed + 2 * self.members, self.seed + 3 * self.members) if same else self.seeds

    @property
    def ensembles(self) -> int:
        """Two baselines, the candidate, and the damaged control."""
        return 4 if self.damage else 3

    @property
    def total_steps(self) -> int:
        """Steps of all universes together: pilot, ensembles, pairs of the Lyapunov exponents, and the short range.

        An estimate while a pilot is to decide the number of members.
        """
        exponents = 2 * self.rounds * self.round_steps if "lyapunov" in self.deciding else 0
        universes = self.ensembles * self.members + self.pilot
        return universes * (self.steps + exponents) + 2 * self.pairs * self.paired_steps

    def with_(self, **changes: object) -> Plan:
        return replace(self, **changes)  # type: ignore[arg-type]


PLANS = {
    # minutes on a CPU for a small law
    "small": Plan(
        grid=(32, 32),
        pilot=16,
        spin_up=100,
        steps=500,
        every=10,
        deciding=SMALL + DYNAMICS,
        paired_steps=16,
        rounds=64,
        settle=4,
        round_steps=5,
        permutations=199,
    ),
    "standard": Plan(pilot=16, rounds=64, settle=4, round_steps=5),
}
