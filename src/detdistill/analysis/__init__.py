"""What is computed from the results of all runs: statistics, summary, error types, cost, comparison of studies."""
