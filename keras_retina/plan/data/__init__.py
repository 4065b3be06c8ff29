"""What a data folder says of itself: its objects, its class names and its splits."""
