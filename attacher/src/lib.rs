//! The attacher.
