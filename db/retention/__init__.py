"""How long what is kept, and letting it go."""
