"""What work will take, before it is done: seconds and memory."""
