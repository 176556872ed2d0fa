"""Objectives as pure functions of tensors, one idea per file, equation numbers in the docstrings."""
