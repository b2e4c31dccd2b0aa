"""Rankings on planted truth: what the estimates, the stopping rule and the scheduler reach; `python -m benchmarks.rankings`."""
