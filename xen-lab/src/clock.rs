//! When things happen, by dom0's clock: `lab-agent clock END SCRIPT NODE...` runs a script in dom0 and writes down what
//! changes in xenstore, until `END` is there.
//!
//! ```text
//!   NANOSECONDS PATH VALUE       one line for each change of a NODE
//! ```
//!
//! A `NODE` is a path, or the end of one: then all domains are looked through for it. That delays what is measured,
//! because xenstored tells of every node that anybody writes.
//!
//! Everything that is compared is seen by the same eyes, so that the way from a guest's act to here counts alike.

use std::io;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::store::{ERROR, READ, Store, WATCH, WATCH_EVENT};

/// Where both xenstored listen.
const XENSTORED: &str = "/run/xenstored/socket";
/// Beneath it are all guests' nodes, and dom0's back ends.
const ALL: &str = "/local/domain";
/// How long a measurement may take.
const PATIENCE: Duration = Duration::from_secs(200);

/// A change that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Since the script was started.
    pub after: Duration,
    /// Which node.
    pub path: String,
    /// What it held right afterwards; empty when it was gone.
    pub value: String,
}

impl Event {
    fn line(&self) -> String {
        format!("{} {} {}", self.after.as_nanos(), self.path, self.value.escape_default())
    }

    /// Reads what `lab-agent clock` wrote.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let after = Duration::from_nanos(words.next()?.parse().ok()?);
        Some(Self { after, path: words.next()?.to_owned(), value: words.next()?.to_owned() })
    }
}

/// Runs the script and prints what happens.
///
/// # Errors
/// The socket's, or time is over.
pub fn run(end: &str, script: &str, nodes: &[&str]) -> io::Result<()> {
    let (end_path, end_value) = end.split_once('=').ok_or_else(|| io::Error::other("END is PATH=VALUE"))?;
    let socket = UnixStream::connect(XENSTORED)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut store = Store(socket);
    for node in watches(nodes) {
        store.send(WATCH, format!("{node}\0t\0").as_bytes())?;
        // Its answer, and the event that each new watch begins with, in either order.
        store.receive()?;
        store.receive()?;
    }
    let began = Instant::now();
    let mut child = Command::new("sh").arg("-c").arg(script).stdin(Stdio::null()).spawn()?;
    let mut asked: std::collections::VecDeque<(Duration, String)> = std::collections::VecDeque::new();
    loop {
        let (kind, payload) = store.receive()?;
        let now = began.elapsed();
        match kind {
            WATCH_EVENT => {
                let path = payload.split(|byte| *byte == 0).next().unwrap_or_default();
                let path = String::from_utf8_lossy(path).into_owned();
                if nodes.iter().any(|node| path.ends_with(node)) {
                    store.send(READ, format!("{path}\0").as_bytes())?;
                    asked.push_back((now, path));
                }
            }
            READ | ERROR => {
                let Some((after, path)) = asked.pop_front() else { continue };
                let value =
                    if kind == READ { String::from_utf8_lossy(&payload).into_owned() } else { String::new() };
                let event = Event { after, path, value };
                println!("{}", event.line());
                if event.path.ends_with(end_path) && event.value.contains(end_value) {
                    break;
                }
            }
            _ => {}
        }
        if began.elapsed() > PATIENCE {
            return Err(io::Error::other("the end does not come"));
        }
    }
    child.wait()?;
    Ok(())
}

/// What has to be watched for these nodes.
fn watches<'n>(nodes: &[&'n str]) -> Vec<&'n str> {
    if nodes.iter().all(|node| node.starts_with('/')) { nodes.to_vec() } else { vec![ALL] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_are_known_are_watched_alone() {
        let known = ["/local/domain/1/device/qpen", "/local/domain/2/data/seen"];
        assert_eq!(watches(&known), known);
        assert_eq!(watches(&["/local/domain/1/device/qpen", "data/opened"]), [ALL]);
    }

    #[test]
    fn an_event_is_read_as_it_was_written() {
        for value in ["", "4", "b1 ok xvdg", "a b"] {
            let event = Event {
                after: Duration::from_nanos(1_234_567_890_123),
                path: "/local/domain/3/qpen/reply".to_owned(),
                value: value.to_owned(),
            };
            assert_eq!(Event::parse(&event.line()), Some(event));
        }
        assert_eq!(Event::parse("x /a b"), None);
        assert_eq!(Event::parse("1 /a"), None);
    }
}
