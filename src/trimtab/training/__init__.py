"""Training loops, one file each, and what they share: state, step and rollout."""
