"""Images that are installed from a medium which the user provides."""
