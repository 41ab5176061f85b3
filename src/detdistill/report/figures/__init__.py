"""The figures of the report: one file each, from the summary and the runs' files to a vector picture."""
