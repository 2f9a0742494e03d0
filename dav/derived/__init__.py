"""What the server makes itself from what an account has."""
