"""Measurements to run by hand; nothing imports them.

One thread per search is measured, and OpenBLAS reads its thread count when numpy is first imported: so it is set here.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
