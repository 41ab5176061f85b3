"""From the runs of a study to a PDF: statistics, tables, sentences, figures, provenance."""
