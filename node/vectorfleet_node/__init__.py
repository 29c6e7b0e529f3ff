"""The node of a fleet: stores, indexes and answers. Imported by the operator never, by the client only for `serve`."""

import os

# Searches run in parallel in threads of ours. BLAS threads of their own would fight them for the same cores: on a busy
# machine a scan took ten times as long. It has to be said before numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
