//! The project's xenstore client.
