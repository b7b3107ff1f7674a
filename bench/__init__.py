"""Measures Retouch beside what a user would write instead: in one run, on real servers, against the simulated API.

Nothing of `workers` or `producers` is imported: whatever is measured runs as processes of its own.
"""
