"""Fisher SAM over its two settings γ and η: figure 5 of its paper, with the angle to SAM beside the accuracy."""
