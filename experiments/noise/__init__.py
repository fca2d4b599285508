"""Training labels that are wrong: table 4 of Fisher SAM, at its size and at sizes that fit minutes."""
