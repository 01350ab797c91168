"""Name of a training's folder. Processes that train import this before the code is compared with the plan's."""


def short_identity(identity: str) -> str:
    """Return the part of an identity that names a training's folder."""
    return identity[:16]
