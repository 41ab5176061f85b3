"""Training of teachers, starts and students."""
