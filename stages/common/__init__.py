"""Used by every stage: devices, hubs, processes, the machine, and safe files."""
