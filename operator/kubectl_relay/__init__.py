"""`kubectl relay`: who has a GPU, why a job waits, how it trains; read with the rights of whoever asks."""
