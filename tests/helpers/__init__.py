"""What several tests use: fake datasets and runs, tiny networks, and ways to run the command."""
