"""The traditional baseline: classifiers of scikit-learn on hand-made features."""
