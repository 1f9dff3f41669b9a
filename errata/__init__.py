"""What a service installs: event types, the client that emits them, and the version resolver."""
