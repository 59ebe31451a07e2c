"""The pages of a labelling project, served by one process to browsers."""
