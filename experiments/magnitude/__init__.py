"""The squared batch gradient in place of the per-sample Fisher diagonal: eq. 12 for eq. 11 of Fisher SAM."""
