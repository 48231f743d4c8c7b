"""Order, memory, machines. Imports nothing, so that the settings load without torch."""
