"""Train one small network in many geometries at matched KL, and measure what each does to the perturbation."""
