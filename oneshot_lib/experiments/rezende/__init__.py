"""Rezende et al. 2016: sequential generative models with attention."""
