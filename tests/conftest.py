"""What all tests share."""

import os

# As the command line sets it: test processes share the cores, and spinning OpenMP threads would starve each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
