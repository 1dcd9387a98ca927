//! restore-disposable: makes a DisposableVM from a saved one, under a name of its own, which `xl restore` alone cannot.
//!
//! ```text
//! restore-disposable XL NAME CONFIGURATION SAVED
//! ```
//!
//! The configuration is that of the saved VM, without a name. It is given to `XL restore` with `name = "NAME"` behind it,
//! from memory: nothing is written to a disk, and `XL` takes this process's place.
//!
//! - *Runs as:* a command of the toolstack, started by dvm-runner as the configuration says; in no sandbox.
//! - *Trusts:* its command line, which holds the administrator's words and a name that the daemon made.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::fs::{MemfdFlags, memfd_create};

/// Longest configuration that is read, in bytes.
const CONFIGURATION_BYTES_MAX: u64 = 64 * 1024;
/// The command line makes no sense (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}: {1}")]
    Configuration(String, std::io::Error),
    #[error("{0} is longer than {CONFIGURATION_BYTES_MAX} bytes")]
    TooLong(String),
    #[error("a copy of the configuration: {0}")]
    Copy(std::io::Error),
    #[error("cannot start {0}: {1}")]
    Start(String, std::io::Error),
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [xl, name, configuration, saved] = words.as_slice() else {
        eprintln!("usage: restore-disposable XL NAME CONFIGURATION SAVED");
        return ExitCode::from(EXIT_USAGE);
    };
    let name = name.to_string_lossy();
    if !is_name(&name) {
        eprintln!("restore-disposable: the name of a DisposableVM is disp and a number");
        return ExitCode::from(EXIT_USAGE);
    }
    let failure = restore(xl, &name, Path::new(configuration), saved);
    eprintln!("restore-disposable: {failure}");
    ExitCode::FAILURE
}

/// `disp` and digits: nothing that could mean anything else in a configuration.
fn is_name(name: &str) -> bool {
    name.strip_prefix("disp").is_some_and(|number| {
        !number.is_empty() && number.len() <= 10 && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Returns only if it failed.
fn restore(xl: &OsString, name: &str, configuration: &Path, saved: &OsString) -> Failure {
    let shown = configuration.display().to_string();
    let mut text = Vec::new();
    let read = File::open(configuration)
        .and_then(|file| file.take(CONFIGURATION_BYTES_MAX.saturating_add(1)).read_to_end(&mut text));
    match read.map(u64::try_from) {
        Err(error) => return Failure::Configuration(shown, error),
        Ok(Ok(length)) if length <= CONFIGURATION_BYTES_MAX => {}
        Ok(_) => return Failure::TooLong(shown),
    }
    match with_name(&text, name) {
        Ok(file) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let error = Command::new(xl).args(["restore", &path]).arg(saved).exec();
            Failure::Start(xl.to_string_lossy().into_owned(), error)
        }
        Err(error) => Failure::Copy(error),
    }
}

/// The configuration with the name, in memory. `xl` inherits it.
fn with_name(text: &[u8], name: &str) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("disposable", MemfdFlags::empty())?);
    file.write_all(text)?;
    write!(file, "\nname = \"{name}\"\n")?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}
