"""A detector as it lies in a `.keras` file: its members, the graph of its network, its weights in HDF5."""
