"""What a step costs in the geometries that read the gradient alone: section 5.7 of Fisher SAM."""
