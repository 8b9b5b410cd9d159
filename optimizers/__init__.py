"""Reference update rules: one file a rule, each a `torch.optim.Optimizer` to read beside its paper.

They are the truth that the fast forms in `torch.optim` are held to, and what
`optimizer.implementation=reference` runs. They favour reading over speed: every parameter is
updated by itself, in plain tensor arithmetic.
"""

from optimizers.adadelta import Adadelta
from optimizers.adam import Adam
from optimizers.adamax import Adamax
from optimizers.nadam import NAdam
from optimizers.rmsprop import RMSprop
from optimizers.sgd import SGD

__all__ = ["SGD", "Adadelta", "Adam", "Adamax", "NAdam", "RMSprop"]
