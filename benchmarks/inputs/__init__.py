"""Made-up inputs of benchmarks that are too large to keep."""
