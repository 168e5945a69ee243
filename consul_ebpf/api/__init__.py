"""The controller's local HTTP endpoint."""
