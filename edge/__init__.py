"""The same detector made small and proven: export, verification, runtime and report."""
