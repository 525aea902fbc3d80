"""What pytest-agentops costs, beside a peer or a floor measured in the same run: `make bench`."""
