//! What the tests and the lab's agents say to each other: lines of text, with bytes in hexadecimal.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// What an agent is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Run a shell script.
    Run(String),
    /// Write a file.
    Put(String, Vec<u8>),
}

/// A task for the agent of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Comes back in the reply.
    pub id: String,
    /// The guest's number, or 0 for dom0.
    pub domid: u32,
    /// What to do.
    pub task: Task,
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// That of the request.
    pub id: String,
    /// Exit code.
    pub code: i32,
    /// What it wrote to stdout.
    pub out: Vec<u8>,
    /// What it wrote to stderr.
    pub err: Vec<u8>,
}

impl Request {
    /// As a line.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { id, domid, task } = self;
        match task {
            Task::Run(script) => format!("@{id} {domid} run {}\n", hex(script.as_bytes())),
            Task::Put(path, bytes) => format!("@{id} {domid} put {} {}\n", hex(path.as_bytes()), hex(bytes)),
        }
    }

    /// From a line; `None` for any other line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.trim().strip_prefix('@')?.split(' ').collect();
        let [id, domid, verb, first, rest @ ..] = words.as_slice() else { return None };
        let first = String::from_utf8(bytes(first)?).ok()?;
        let task = match (*verb, rest) {
            ("run", []) => Task::Run(first),
            ("put", [content]) => Task::Put(first, bytes(content)?),
            _ => return None,
        };
        Some(Self { id: (*id).to_owned(), domid: domid.parse().ok()?, task })
    }
}

impl Reply {
    /// As a line.
    #[must_use]
    pub fn line(&self) -> String {
        format!("={} {} {} {}\n", self.id, self.code, hex(&self.out), hex(&self.err))
    }

    /// From a line; `None` for any other line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.trim().strip_prefix('=')?.split(' ').collect();
        let [id, code, out, err] = words.as_slice() else { return None };
        Some(Self { id: (*id).to_owned(), code: code.parse().ok()?, out: bytes(out)?, err: bytes(err)? })
    }
}

/// Bytes in hexadecimal; `-` for none, so that a line always has as many words.
fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if hex == "-" {
        return Some(Vec::new());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| if let [high, low] = pair { Some(digit(*high)? << 4 | digit(*low)?) } else { None })
        .collect()
}

/// A file without a name, for what a program writes.
///
/// # Errors
/// The kernel's.
pub fn unnamed() -> io::Result<File> {
    tempfile::tempfile()
}

/// All of such a file.
///
/// # Errors
/// The kernel's.
pub fn whole(file: &mut File) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut all)?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_replies_come_back_as_they_went() {
        for task in [
            Task::Run("echo 'a  b'\nfalse\n".to_owned()),
            Task::Run(String::new()),
            Task::Put("/x y".to_owned(), (0..=u8::MAX).collect()),
            Task::Put("/x".to_owned(), Vec::new()),
        ] {
            let request = Request { id: "c7".to_owned(), domid: 3, task };
            assert_eq!(Request::parse(&request.line()), Some(request));
        }
        let reply = Reply { id: "9".to_owned(), code: -1, out: b"x".to_vec(), err: Vec::new() };
        assert_eq!(Reply::parse(&reply.line()), Some(reply));
    }

    #[test]
    fn what_a_kernel_prints_is_no_request_and_no_reply() {
        for line in ["", "@", "=", "[  1.0] xvda: x", "@1 0 run zz", "@1 0 run 123", "=1 0 -", "@1 x run -"] {
            assert_eq!(Request::parse(line), None, "{line}");
            assert_eq!(Reply::parse(line), None, "{line}");
        }
    }
}
