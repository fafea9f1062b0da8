"""The goal state -> Metadata. It names no setting of the VM yet, only how Azure keeps book of it."""

from __future__ import annotations

from azurelite.fabric.goalstate import GoalState
from azurelite.metadata import Metadata


def from_goal_state(goal_state: GoalState) -> Metadata:
    """What a goal state tells: `raw["goal_state"]`."""
    public = {
        "container_id": goal_state.container_id,
        "instance_id": goal_state.instance_id,
        "incarnation": goal_state.incarnation,
        "certificates_url": goal_state.certificates_url,
    }
    return Metadata(raw={"goal_state": public})
