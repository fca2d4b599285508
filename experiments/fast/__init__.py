"""The fast CIFAR-10 recipe with SAM: geometries at equal compute and equal tuning, with clean and with wrong labels."""
