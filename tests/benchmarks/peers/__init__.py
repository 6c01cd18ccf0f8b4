"""The same work in other frameworks: `python -m tests.benchmarks.peers.<name> DATA OUT`, from command to exit.

Each reads the Parquet files in the folder DATA (columns `id` and `image`, JPEGs of 500x375) and leaves in the folder
OUT the columns of `tests.benchmarks.work.SCHEMA` as Parquet.
"""
