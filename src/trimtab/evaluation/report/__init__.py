"""One HTML file, complete in itself, that says what changed and how sure one can be."""
