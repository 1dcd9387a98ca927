//! Starting somebody else's program, by its path.

use std::ffi::{CString, OsStr};
use std::os::fd::BorrowedFd;

use super::{Child, Spawn, SpawnError};
use crate::profile::Namespaces;

/// A program of the host, which is not confined and runs as whoever starts it. It may be an interpreter's script.
#[derive(Debug)]
pub struct Command<'a> {
    /// Its absolute path, which is its name for itself, too.
    pub program: &'a str,
    /// Its further arguments.
    pub args: &'a [&'a OsStr],
    /// Its whole environment, `NAME=VALUE` each.
    pub environment: &'a [&'a OsStr],
    /// Descriptors 0, 1 and 2 of the new process, which has no others.
    pub stdio: [BorrowedFd<'a>; 3],
}

impl Command<'_> {
    /// Starts it, in a session of its own. When this returns, the program runs.
    ///
    /// As with [`Spawn::start`], its signals are the default, and it is killed when the calling thread ends; what it
    /// has started itself is not.
    ///
    /// # Errors
    /// As [`Spawn::start`]; the path is not absolute.
    pub fn start(&self) -> Result<Child, SpawnError> {
        let [unused, ..] = self.stdio;
        let spawn = Spawn {
            // The path takes its place.
            program: unused,
            argv0: self.program,
            args: self.args,
            stdio: self.stdio,
            descriptors: &[],
            account: None,
            namespaces: Namespaces::NONE,
        };
        if !self.program.starts_with('/') {
            return Err(SpawnError::NotAbsolute(self.program.to_owned()));
        }
        let path = spawn.c_string(OsStr::new(self.program))?;
        let environment: Vec<CString> =
            self.environment.iter().map(|pair| spawn.c_string(pair)).collect::<Result<_, _>>()?;
        spawn.start_at(&path, &environment)
    }
}
