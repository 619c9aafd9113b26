"""Makes the weights: data sets, networks, fitting, evaluation, reports."""
