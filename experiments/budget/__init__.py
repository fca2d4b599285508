"""The KL that a fixed radius spends over training, in each geometry: what "too near" and "too far" are measured by."""
