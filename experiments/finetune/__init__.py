"""Networks that were trained before, on: tables 2 and 3 of Fisher SAM."""
