//! From a profile's text to the constants of the program. Runs at build time only.
//!
//! Whatever is not understood is an error: an unknown key, system call or constant, a missing reason, an empty list,
//! and a call that a confined process may never have.

pub mod check;
pub mod condition;
pub mod filter;
pub mod format;
pub mod generate;
pub mod names;

use format::{File, Grant};

/// One profile, checked and compiled.
pub struct Compiled {
    /// The file's name without its endings; becomes the name of the constant.
    pub stem: String,
    /// What it says.
    pub file: File,
    /// Each permitted call, with its conditions.
    pub grants: Vec<Grant>,
    /// The instructions of its filter.
    pub program: Vec<seccompiler::sock_filter>,
}

/// Compiles the text of one profile.
pub fn compile(stem: &str, text: &str) -> Result<Compiled, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let grants = file.grants()?;
    check::file(&file)?;
    check::grants(&file, &grants)?;
    let program = filter::program(&grants)?;
    Ok(Compiled { stem: stem.to_owned(), file, grants, program })
}
