//! What the dialog's window shows: `ui/dialog.slint`, as Slint's compiler translates it.
//!
//! It shows what it is told and decides nothing: which button has the focus, and what a key or a click means, is the
//! business of `dialog::window`. It is a crate of its own because the generated code needs other lints.

slint::include_modules!();
