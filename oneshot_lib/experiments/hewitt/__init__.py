"""Hewitt et al. 2018: the Variational Homoencoder."""
