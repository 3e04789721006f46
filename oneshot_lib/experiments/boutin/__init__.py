"""Boutin et al. 2022: diversity and recognizability, by which drawings are judged."""
