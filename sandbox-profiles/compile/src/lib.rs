//! From a profile's text to the constants of the program. Runs at build time only.
//!
//! Whatever is not understood is an error: an unknown key, system call or constant, a missing reason, an empty list,
//! and a call that a confined process may never have.

pub mod cases;
pub mod check;
pub mod condition;
pub mod filter;
pub mod format;
pub mod generate;
pub mod names;

use std::path::{Path, PathBuf};

use format::{File, Grant};
use names::Arch;

/// One profile, checked and compiled.
#[derive(Debug)]
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

impl Compiled {
    /// Whether a call with these arguments is meant to be permitted.
    #[must_use]
    pub fn permits(&self, number: i64, arguments: &[u64; 6]) -> bool {
        self.grants.iter().any(|grant| grant.permits(number, arguments))
    }
}

/// Compiles the text of one profile for an architecture.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn compile(stem: &str, text: &str, arch: Arch) -> Result<Compiled, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let grants = file.grants(arch)?;
    check::file(&file)?;
    check::grants(&file, &grants, arch)?;
    let program = filter::program(&grants, arch)?;
    Ok(Compiled { stem: stem.to_owned(), file, grants, program })
}

/// Compiles every profile of a folder for an architecture: the files named `PROCESS.ARCH.toml`, in the order of their
/// names.
///
/// # Errors
/// What is wrong with the first that is.
pub fn folder(folder: &Path, arch: Arch) -> Result<Vec<Compiled>, String> {
    let ending = format!(".{}.toml", arch.name());
    let mut files = Vec::new();
    let in_folder = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(in_folder)? {
        let path = entry.map_err(in_folder)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(stem) = name.strip_suffix(&ending) {
            files.push((stem.to_owned(), path));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(format!("no profile for the architecture {}", arch.name()));
    }
    let compile = |(stem, path): &(String, PathBuf)| {
        let in_file = |error: String| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| in_file(error.to_string()))?;
        compile(stem, &text, arch).map_err(in_file)
    };
    files.iter().map(compile).collect()
}

/// Compiles every profile of a folder for every architecture: each process must have one for each.
///
/// # Errors
/// What is wrong with the first that is.
pub fn all(path: &Path) -> Result<Vec<(Arch, Vec<Compiled>)>, String> {
    let mut all: Vec<(Arch, Vec<Compiled>)> = Vec::new();
    for arch in Arch::ALL {
        all.push((arch, folder(path, arch)?));
    }
    let stems = |profiles: &[Compiled]| profiles.iter().map(|one| one.stem.clone()).collect::<Vec<_>>();
    if let [(first, profiles), rest @ ..] = all.as_slice()
        && let Some((other, others)) = rest.iter().find(|(_, others)| stems(others) != stems(profiles))
    {
        let (first, other) = (first.name(), other.name());
        let (profiles, others) = (stems(profiles).join(", "), stems(others).join(", "));
        return Err(format!("profiles of {first}: {profiles}; but of {other}: {others}"));
    }
    Ok(all)
}
