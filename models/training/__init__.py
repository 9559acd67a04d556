"""Train models: recipes, samples, the loop, and a strategy for each way to train.

Read in this order: recipe, footage, trainer, strategy; then the strategies (steps, frozen_features, fitted_head, and
models/classical); then what gradient steps use: samples, augmentation, transfer, objective, imbalance, loop.
"""
