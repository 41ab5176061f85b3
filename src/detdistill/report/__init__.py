"""From summary, cost and runs to a PDF: figures, tables, sentences, provenance."""
