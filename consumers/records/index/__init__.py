"""Where segments lie: pages of places, and the contents that list them."""
