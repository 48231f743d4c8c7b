"""Where and when jobs run: processes, retries, a cluster, turns."""
