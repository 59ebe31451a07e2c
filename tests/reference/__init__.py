"""The algorithms written slowly from their papers: plain Python loops over lists, no padding, no tensors."""
