//! dvm-runner: runs the configured commands of the toolstack, and nothing else.
//!
//! - *Runs as:* whoever started the daemon, with all rights, **outside of every sandbox**: a toolstack makes hypercalls,
//!   binds loop devices and starts device models, which no profile could permit.
//! - *Holds:* `supervisor` (from which come the ends of edges to dvm-launcher), `settings` (sealed: the commands, and the
//!   paths of the template and its base).
//! - *May:* start these commands, end them, look at the age of these two files.
//! - *Must never:* take a path, a name or a word from a message. A message holds which of the commands, and a number.
//! - *Trusts:* the administrator's configuration, the supervisor. Of what commands print it keeps the end, unread.
//! - *Ends when:* the supervisor does. It ends the commands first, with what has not left their sessions.

use attacher::runner::Runner;
use attacher::settings::read_all;
use protocol::codec;
use sys::inherit::Inherited;

/// The supervisor has ended.
const EXIT_ENDED: u8 = 0;
/// The descriptors or settings are not what the supervisor hands over: started by hand.
const EXIT_MISUSED: u8 = 78;

fn main() {
    sys::worker::exit(run().map_or(EXIT_MISUSED, |()| EXIT_ENDED))
}

fn run() -> Option<()> {
    let mut inherited = Inherited::take_over_named(&["supervisor", "settings"]).ok()?;
    let supervisor = inherited.take("supervisor").ok()?;
    let settings = codec::decode_settings(&read_all(&inherited.take("settings").ok()?).ok()?).ok()?;
    // The end of the supervisor closes its end of the edge, which leaves time to end the commands.
    rustix::process::set_parent_process_death_signal(None).ok()?;
    Runner::new(supervisor, settings).ok()?.run();
    Some(())
}
