"""How networks learn: recipes, samples, the loop, and trainers."""
