"""What puts views on a terminal."""
