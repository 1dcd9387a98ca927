//! The dialog.
