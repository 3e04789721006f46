"""Reed et al. 2018: few-shot autoregressive density estimation."""
