"""What changed and how sure one can be: statistics, tasks, the summary of an evaluation, and the report."""
