//! Parsers of hostile bytes.
