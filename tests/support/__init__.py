"""What several test layers share."""
