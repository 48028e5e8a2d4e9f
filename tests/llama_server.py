"""llama.cpp's own OpenAI-compatible server of a GGUF file, in an environment with the package xllamacpp.

.venv-llama/bin/python tests/llama_server.py FILE PORT      # PORT 0: any that is free; prints the URL
"""

import sys
import threading

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_ctx, params.n_parallel = 2048, 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # which wait by spinning, and others work here too
server = xllamacpp.Server(params)
print(f"{server.listening_address}/v1", flush=True)
threading.Event().wait()
