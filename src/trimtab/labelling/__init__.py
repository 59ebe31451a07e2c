"""Human feedback: who labels what, where it is kept, and the pages on which people do it."""
