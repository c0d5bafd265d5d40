"""Decides in which format each weight of a law is stored. Torch-free.

    nf4    4 bits per weight and a float32 scale per 64 weights
    int8   8 bits per weight and a float32 scale per output channel
    bf16   bfloat16
    16     the dtype that the device multiplies in: bfloat16 where that is fast, else float32
    fp32   float32

The format depends on the precision and on the role of a weight:

    encoder    the first layer
    backbone   every other layer but the last
    head       the last layer
    vector     norms and biases
    frozen     constants, which are exact in every precision

The manifest of a law may override the policy below, by role or by the beginning of a weight's key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leym.contract.problems import invalid
from leym.laws.bundle import Bundle, Manifest

FORMATS = ("nf4", "int8", "bf16", "16", "fp32")
UNPACKED = ("bf16", "16", "fp32")  # formats without scales, the only ones for vectors
MATRICES = ("encoder", "backbone", "head")

# precision -> role -> format. Encoder and head hold few weights, so their higher formats in "nf4" cost few bytes.
POLICY: dict[str, dict[str, str]] = {
    "nf4": {"encoder": "int8", "backbone": "nf4", "head": "16", "vector": "fp32", "frozen": "fp32"},
    "int8": {"encoder": "int8", "backbone": "int8", "head": "int8", "vector": "fp32", "frozen": "fp32"},
    "bf16": {"encoder": "bf16", "backbone": "bf16", "head": "bf16", "vector": "fp32", "frozen": "fp32"},
    "fp32": {"encoder": "fp32", "backbone": "fp32", "head": "fp32", "vector": "fp32", "frozen": "fp32"},
}


def role_of(manifest: Manifest, key: str, shape: tuple[int, ...]) -> str:
    """Return the role of a weight, by its key and shape."""
    architecture = manifest.architecture_info
    if any(key.startswith(prefix) for prefix in architecture.frozen):
        return "frozen"
    if len(shape) <= 1:
        return "vector"
    if architecture.encoder and key.startswith(architecture.encoder):
        return "encoder"
    return "head" if key.startswith(architecture.head) else "backbone"


def format_of(manifest: Manifest, precision: str, key: str, role: str) -> str:
    """Return the format of a weight at rest.

    The manifest's entry for the key counts first (the longest match wins), then its entry for the role, then POLICY.
    Vectors and constants follow their role only.
    """
    overrides = _overrides(manifest, precision)
    chosen = overrides.get(role, POLICY[precision][role])
    if role in MATRICES:
        for prefix in sorted(overrides, key=len):
            if key.startswith(prefix):
                chosen = overrides[prefix]
    return chosen


def roles_of(law: Bundle) -> dict[str, str]:
    """Return key -> role of every weight, in the order of the weights file."""
    return {key: role_of(law.manifest, key, shape) for key, (_, shape) in law.tensors.items()}


def formats_of(law: Bundle, precision: str) -> dict[str, str]:
    """Return key -> format at rest of every matrix."""
    roles = roles_of(law)
    return {key: format_of(law.manifest, precision, key, role) for key, role in roles.items() if role in MATRICES}


def policy_for(law: Bundle, precision: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return a manifest policy that gives each matrix its wanted format.

    Args:
        law: The law, whose own policy is kept where it fits.
        precision: The precision that the policy is for.
        wanted: Key of a matrix -> format.
    """
    roles, policy = roles_of(law), _overrides(law.manifest, precision)
    for key in sorted(wanted, key=len):  # shorter keys first: an entry also matches longer keys that begin like it
        manifest = law.manifest.model_copy(update={"policy": {precision: policy}})
        if format_of(manifest, precision, key, roles[key]) != wanted[key]:
            policy[key] = wanted[key]
    return policy


def policy_with(law: Bundle, precision: str, settings: Sequence[str]) -> dict[str, str]:
    """Return the law's own policy with changes written as `KEY_OR_ROLE=FORMAT`.

    A key stands for all matrices whose keys begin with it.

    Raises:
        Problem: 422, naming the key, the value and what is allowed.
    """
    policy, roles = _overrides(law.manifest, precision), roles_of(law)
    own_roles = sorted(set(roles.values()) - {"frozen"})
    for setting in settings:
        key, equals, chosen = setting.partition("=")
        if not (key and equals):
            raise invalid(f"set = {setting!r}: it must be KEY_OR_ROLE=FORMAT", "/set")
        matches = [k for k in roles if roles[k] in MATRICES and k.startswith(key)]
        if key not in own_roles and not matches:
            known = f"its roles: {', '.join(own_roles)}; its matrices: {', '.join(formats_of(law, precision))}"
            why = " (norms, biases and constants follow their role)" if any(k.startswith(key) for k in roles) else ""
            raise invalid(f"set: {key} = {chosen!r}: {law.name} has no such role or matrix{why}; {known}", "/set")
        allowed = UNPACKED if key == "vector" else FORMATS
        if chosen not in allowed:
            raise invalid(f"set: {key} = {chosen!r}: it must be one of {', '.join(allowed)}", "/set")
        policy[key] = chosen
    return policy


def unchanged(law: Bundle, precision: str, policy: Mapping[str, str]) -> set[str]:
    """Return the keys of the weights that keep their format in a precision if the manifest's policy becomes `policy`.

    Their own codes of this precision stay valid (`leym.laws.variants.write_variant`).
    """
    changed = law.manifest.model_copy(update={"policy": {precision: dict(policy)}})
    roles = roles_of(law).items()
    return {
        key
        for key, role in roles
        if format_of(changed, precision, key, role) == format_of(law.manifest, precision, key, role)
    }


def _overrides(manifest: Manifest, precision: str) -> dict[str, str]:
    """Return the manifest's entries for a precision, as a new dict."""
    return dict(manifest.policy.get(precision, {}))  # type: ignore[call-overload]
