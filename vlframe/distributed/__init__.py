"""Runs over several processes: ranks, replicas, shards."""
