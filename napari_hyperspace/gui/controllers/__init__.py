"""One controller per task of the user, assembled in `dock`."""
