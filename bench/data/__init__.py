"""Data sets: one file a set, each with a function that returns three splits.

A loader returns `(train, val, test)`, each a pair `(inputs, targets)` of tensors or arrays with the
examples along the first axis. Whole-number targets are classes 0, 1, ...; others are values to predict.
It may return a ready `Dataset` instead: `from_tensors` makes one that says more than two tensors can.
"""
