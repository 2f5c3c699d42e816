"""The phases of `benchmarks.gpu`, each a process of its own: `python -m benchmarks.phases NAME`."""
