"""Looking at cameras: how they are and were, their scores and rules, and pictures of them."""
