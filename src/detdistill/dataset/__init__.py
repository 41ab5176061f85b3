"""The prepared data set that every step after `data` reads: manifest, records and images."""
