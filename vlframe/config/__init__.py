"""The typed configuration: its schema, its checks, and the secrets that it must never hold."""
