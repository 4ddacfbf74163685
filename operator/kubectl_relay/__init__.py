"""`kubectl relay`: which job owns a GPU, why a job waits, how it trains; read with the user's own rights."""
