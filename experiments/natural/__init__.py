"""What Fisher SAM leaves open: the natural gradient, a ball for each micro-batch, and the proximal view of ε."""
