"""Requirements of the Windows hardware compatibility programme as data."""
