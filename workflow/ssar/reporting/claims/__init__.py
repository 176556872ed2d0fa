"""Verdicts on what a paper claims: predicates over runs, with the interval that they hold in."""
