"""Real servers and real processes for whoever tries the program from outside: the tests and the benchmarks."""
