"""The sections of the report, each made from what the run folder holds."""
