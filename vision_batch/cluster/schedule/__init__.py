"""Runs jobs at their times: a spec's `schedule:` block, and the service that acts on it."""
