"""Users, groups, passwords and privileges of a guest."""
