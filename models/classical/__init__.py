"""The traditional baseline: hand-made features under classifiers of scikit-learn."""
