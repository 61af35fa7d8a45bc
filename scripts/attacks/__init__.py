"""What `scripts/attack-gateway` sends: whole requests that are wrong, frames that are wrong, and callers that are slow."""
