"""The prepared data in the layouts of other engines, with the folds, so that both can be compared on the same split."""
