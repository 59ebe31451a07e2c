"""Algorithms: pure functions of response tensors, torch only. Each says its shapes, units and source."""
