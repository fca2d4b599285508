"""Trained weights moved by α: figure 4 of Fisher SAM, along the gradient and at random, in several geometries."""
