//! Sending bytes through another program.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::run;

/// What a program makes of these bytes.
pub fn through(command: &mut Command, input: &[u8]) -> Outcome<Vec<u8>> {
    let what = command.get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| format!("{what}: {error}");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut to = child.stdin.take().ok_or("no pipe")?;
    let input = input.to_vec();
    // From a second thread: the program may answer before it has read everything.
    let writer = std::thread::spawn(move || to.write_all(&input));
    let output = child.wait_with_output().map_err(failed)?;
    let written = writer.join().map_err(|_| format!("{what}: the writer ended early"))?;
    run::check(output.status, &what)?;
    written.map_err(failed)?;
    Ok(output.stdout)
}

/// Compressed as Debian's policy wants it: as small as can be, without a name and a time.
pub fn gzip(bytes: &[u8]) -> Outcome<Vec<u8>> {
    through(Command::new("gzip").args(["-9n", "-c"]), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_bytes_than_a_pipe_holds_come_back_whole() {
        let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let packed = gzip(&bytes).unwrap();
        assert_eq!(packed, gzip(&bytes).unwrap());
        assert_eq!(through(Command::new("gzip").arg("-dc"), &packed).unwrap(), bytes);
        assert!(through(Command::new("gzip").arg("-dc"), b"no").is_err());
    }
}
