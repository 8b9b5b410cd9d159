"""Architectures: one file a family.

A model is a `torch.nn.Module`. Where its constructor has an argument `input_shape` (the shape of one
example, without the batch) or `num_outputs` (classes, or values to predict), the bench fills it in
from the data; all other arguments come from its config.
"""
