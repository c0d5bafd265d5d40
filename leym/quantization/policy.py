"""Which formats the weights of a law have, and the manifest entries that give them others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leym.contract.problems import invalid
from leym.laws.bundle import Bundle, Manifest
from leym.quantization.quantized_law import format_of, role

FORMATS = ("nf4", "int8", "bf16", "16", "fp32")
UNPACKED = ("bf16", "16", "fp32")  # one number per weight, for what has no rows to be scaled
MATRICES = ("encoder", "backbone", "head")


def roles_of(law: Bundle) -> dict[str, str]:
    """Key -> role, in the order of the weights file."""
    return {key: role(law.manifest, key, shape) for key, (_, shape) in law.tensors.items()}


def formats_of(law: Bundle, precision: str) -> dict[str, str]:
    """Key of a matrix -> format at rest."""
    roles = roles_of(law)
    return {key: format_of(law.manifest, precision, key, r) for key, r in roles.items() if r in MATRICES}


def policy_for(law: Bundle, precision: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """The law's own policy, with the entries that give each matrix its wanted format: key -> format.

    Shorter keys go first, because an entry also speaks of longer keys that begin like it.
    """
    roles, policy = roles_of(law), dict(_own(law.manifest, precision))
    for key in sorted(wanted, key=len):
        manifest = law.manifest.model_copy(update={"policy": {precision: policy}})
        if format_of(manifest, precision, key, roles[key]) != wanted[key]:
            policy[key] = wanted[key]
    return policy


def policy_with(law: Bundle, precision: str, settings: Sequence[str]) -> dict[str, str]:
    """The law's own policy with `KEY_OR_ROLE=FORMAT` of each setting; a key stands for all that begin like it.

    Raises Problem 422 that names the key, the value and what is allowed.
    """
    policy, roles = dict(_own(law.manifest, precision)), roles_of(law)
    there = sorted(set(roles.values()) - {"frozen"})
    for setting in settings:
        key, equals, form = setting.partition("=")
        if not (key and equals):
            raise invalid(f"set = {setting!r}: it must be KEY_OR_ROLE=FORMAT", "/set")
        meant = [k for k in roles if roles[k] in MATRICES and k.startswith(key)]
        if key not in there and not meant:
            said = f"its roles {', '.join(there)}; its matrices {', '.join(formats_of(law, precision))}"
            why = " (norms, biases and constants follow their role)" if any(k.startswith(key) for k in roles) else ""
            raise invalid(f"set: {key} = {form!r}: {law.name} has no such role or matrix{why}; {said}", "/set")
        allowed = UNPACKED if key == "vector" else FORMATS
        if form not in allowed:
            raise invalid(f"set: {key} = {form!r}: it must be one of {', '.join(allowed)}", "/set")
        policy[key] = form
    return policy


def _own(manifest: Manifest, precision: str) -> dict[str, str]:
    return dict(manifest.policy.get(precision, {}))  # type: ignore[call-overload]
