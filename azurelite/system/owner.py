"""Who a file belongs to."""

from __future__ import annotations

from azurelite.frozen import dataclass


@dataclass(frozen=True)
class Owner:
    """Who a file belongs to. `name` is for people; a dry run may not know the numbers yet (-1)."""

    name: str
    uid: int
    gid: int


ROOT_OWNER = Owner("root", 0, 0)
