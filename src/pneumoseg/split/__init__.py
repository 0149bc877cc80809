"""Patient-safe folds, a test set, and the balanced manifest of each fold's training images."""
