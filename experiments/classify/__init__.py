"""Test accuracy of SGD and of SAM in each geometry: table 1 of Fisher SAM, at its size and at sizes that fit minutes."""
