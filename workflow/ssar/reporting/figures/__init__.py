"""Figures: a model and a renderer for each kind, each as pdf and png."""
