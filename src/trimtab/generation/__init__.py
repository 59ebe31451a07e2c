"""Generation: token ids in, token ids out, and the text on either side."""
