"""What others wrote, made harmless where it is shown or kept."""
