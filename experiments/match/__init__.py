"""What becomes of a radius that was matched once: geometries calibrated to one KL at one point, then trained with."""
