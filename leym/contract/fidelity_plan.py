"""Plans of the fidelity gate: ensemble sizes, times, seeds, margins and deciding metrics, fixed before any run."""

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
    """A pre-registered design of the gate; the verdict keeps all of it.

    Attributes:
        grid: (H, W) in cells.
        members: universes per ensemble.
        pilot: members of a pilot ensemble, whose spread then sets the number of members; 0 for no pilot.
        most: largest number of members that a pilot may set.
        spin_up: steps discarded at the beginning.
        steps: steps of each universe, the spin-up included.
        every: steps between two frames.
        gamma: damping of all universes.
        seed: of the first member of the first baseline; the second baseline starts at seed + members.
        margin: equivalence margin of an effect, in units of its scale.
        alpha: level of each one-sided test.
        deciding: metrics that must all pass; the others are only reported.
        pairs: members of the paired comparison over a short time.
        paired_steps: steps of the paired comparison.
        perturbation: root mean square over cells of |psi' - psi| at the beginning of each round of the Lyapunov
            exponent. It is well above the resolution of bf16 operands, so the exponent is one of finite size.
        rounds: rounds of the Lyapunov exponent.
        settle: first rounds, which only align the perturbation.
        round_steps: steps of a round.
        damage: share of the weights set to zero in the control that must fail; 0 for no control.
        regime_steps: steps of the few members in which the regime is observed step by step; 0 leaves that out.
        frozen_below: activity per step below which a law counts as frozen.
        chaos_above: the interval of the Lyapunov exponent of a chaotic law lies above it, per step.
        recurrence: least overlap with an earlier state of a periodic law, in [0, 1].
        travel_above: least share of the motion of a law of waves that shifting the picture along undoes.
        information: estimate mutual information as well.
        permutations: of the global energy test.
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
    regime_steps: int = 64
    frozen_below: float = 1e-5
    chaos_above: float = 1e-3
    recurrence: float = 0.99
    travel_above: float = 0.5
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
        """Number of frames of a member, at steps spin_up + every, …, steps."""
        return (self.steps - self.spin_up) // self.every

    @property
    def seeds(self) -> range:
        """Seeds of the first baseline."""
        return range(self.seed, self.seed + self.members)

    @property
    def reference_seeds(self) -> range:
        """Seeds of the reference, the second baseline; disjoint from those of the first."""
        return range(self.seed + self.members, self.seed + 2 * self.members)

    @property
    def pilot_seeds(self) -> range:
        """Seeds of the pilot ensemble."""
        return range(self.seed - self.pilot, self.seed)

    def candidate_seeds(self, *, same: bool) -> range:
        """Return the seeds of the candidate: those of the baseline, or others if both are the `same` law."""
        return range(self.seed + 2 * self.members, self.seed + 3 * self.members) if same else self.seeds

    @property
    def ensembles(self) -> int:
        """Number of ensembles: two baselines, the candidate and, if the plan has one, the damaged control."""
        return 4 if self.damage else 3

    @property
    def total_steps(self) -> int:
        """Steps of all universes: pilot, ensembles, pairs of the Lyapunov exponents, paired comparison and regime.

        An estimate for a plan with a pilot, which sets the number of members later.
        """
        exponents = 2 * self.rounds * self.round_steps if "lyapunov" in self.deciding else 0
        universes = self.ensembles * self.members + self.pilot
        return universes * (self.steps + exponents) + self.pairs * (2 * self.paired_steps + self.regime_steps)

    def with_(self, **changes: object) -> Plan:
        """Return a copy with some attributes changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


PLANS = {
    # takes minutes on a CPU for a small law
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
