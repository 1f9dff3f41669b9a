"""How the tables came to be: one file per change, in order. Run by `storage.database.migrate`."""
