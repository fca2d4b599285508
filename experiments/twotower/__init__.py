"""Two towers that learn to know halves of one image: how much a geometry depends on its radius."""
