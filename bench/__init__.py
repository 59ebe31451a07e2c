"""Measures trimtab against its peers: same rows, same number type, one run, alternating."""
