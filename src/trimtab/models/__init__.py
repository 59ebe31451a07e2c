"""Models: names to folders, folders to policies and reward models, rows to response tensors."""
