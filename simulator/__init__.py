"""A stand-in for the BFL API over HTTP: for trying Retouch without a key, for tests and for benchmarks.

What it charges is play money, and what it draws is marked SIMULATED.
"""
