"""Settings of every test: one thread, and no way to a hub."""

import os


# Before torch and the hub's clients are imported. Tiny tensors are slower on several threads, and far slower where
# tests share their cores.
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
