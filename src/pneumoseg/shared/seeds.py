"""Seeds made of names: what is random in one place never depends on what another place drew."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any parts; the same on every machine and in every process."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
