//! Helpers of the tests: a test that cannot run here says so, in one form, instead of passing in silence.

pub mod session_bus;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names the file that collects one line per skipped test, so that a runner can count them.
pub const SKIPPED_FILE_ENV: &str = "QFILEXCHG_SKIPPED";

/// Where system tools live that an ordinary user's `PATH` often lacks.
const SYSTEM_DIRS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Says that the calling test cannot run here. The test returns right after it.
///
/// Prints `SKIPPED: reason` to stderr, and appends `reason` (with the test's name before it where the thread has
/// one) as one line to the file named by `QFILEXCHG_SKIPPED` when that is set.
pub fn skip(reason: &str) {
    let one_line = reason.replace('\n', " ");
    eprintln!("SKIPPED: {one_line}");
    let Some(path) = std::env::var_os(SKIPPED_FILE_ENV) else { return };
    let thread = std::thread::current();
    let line = format!("{}: {one_line}\n", thread.name().unwrap_or("test"));
    let appended = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = appended {
        eprintln!("cannot append to {}: {error}", Path::new(&path).display());
    }
}

/// The program of that name in `PATH`, `/usr/sbin` or `/sbin`, if there is an executable one.
#[must_use]
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(SYSTEM_DIRS.iter().map(PathBuf::from));
    dirs.map(|dir| dir.join(name)).find(|candidate| is_executable(candidate))
}

/// Whether all of these programs are here. Calls [`skip`] with the names of the missing ones otherwise.
#[must_use]
pub fn require_tools(names: &[&str]) -> bool {
    let missing: Vec<&str> = names.iter().copied().filter(|name| tool(name).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    skip(&format!("not installed: {}", missing.join(", ")));
    false
}

/// Writes a program that the calling test starts.
///
/// Another process does it: a file that this one has open for writing, however shortly, may be held by what another
/// thread starts at that moment, and cannot be executed then (`ETXTBSY`).
///
/// # Panics
/// When it cannot be written, which fails the test.
pub fn write_program(path: &Path, text: &str) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"]).arg(path).stdin(Stdio::piped());
    let written = command.spawn().and_then(|mut writer| {
        let sent = writer.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()));
        sent.and(writer.wait())
    });
    assert!(matches!(&written, Ok(status) if status.success()), "{}: {written:?}", path.display());
}

/// Copies a program that the calling test starts, for the reason that [`write_program`] has.
///
/// # Panics
/// When it cannot be copied, which fails the test.
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("/bin/cp").arg("--").args([from, to]).status();
    assert!(matches!(&status, Ok(status) if status.success()), "{}: {status:?}", to.display());
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_exists_is_found_and_another_is_not() {
        assert!(tool("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(tool("no-such-tool-of-qfilexchgd"), None);
        assert!(require_tools(&["sh"]));
        assert!(require_tools(&[]));
    }

    #[test]
    fn a_program_that_was_written_or_copied_runs() {
        let folder = std::env::temp_dir().join(format!("testkit-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let (first, second) = (folder.join("first"), folder.join("second"));
        write_program(&first, "#!/bin/sh\nexit 7\n");
        copy_program(&first, &second);
        let codes = [first, second].map(|program| Command::new(program).status().unwrap().code());
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(codes, [Some(7), Some(7)]);
    }

    #[test]
    fn a_directory_is_not_a_tool() {
        assert_eq!(tool("."), None);
    }
}
