"""The parts that both encoders are built from."""
