//! A worker that lies: installed by tests in place of a real one, under its name and in its profile.
//!
//! - *Runs as:* the worker that it stands for, in the sandbox of that worker.
//! - *Holds:* what that worker holds.
//! - *May:* whatever the profile permits.
//! - *Must never:* be shipped.
//! - *Trusts:* the script that the test has appended to this very program.
//! - *Ends when:* its lie has been told and somebody ends it.
//!
//! The script has a word for each life of the process: what it does then. `real` is the real worker's own code. A life
//! knows its number by the files that earlier ones have made, before it enters the profile. What works in a VM has another
//! script (`in_vm.rs`).

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failure here fails the test that waits for the lie"
)]

mod honest;
mod in_vm;
mod lies;

use std::fs::File;
use std::path::{Path, PathBuf};

use e2e::liars::SCRIPT_MARK;
use protocol::supervise::Role;
use sys::profile::Profile;

fn main() {
    let name = std::env::args().next().unwrap();
    if let Some(word) = in_vm::word(&name) {
        in_vm::play(&name, &word);
    }
    let role = Role::ALL.into_iter().find(|role| role.process() == name).unwrap();
    let word = this_life();
    sys::worker::run(profile(role), None, move |inherited, sandboxed| {
        if word == "real" {
            honest::work(role, inherited, &sandboxed)
        } else {
            lies::tell(role, &word, inherited)
        }
    })
}

fn profile(role: Role) -> &'static Profile {
    match role {
        Role::Broker => &sandbox_profiles::BROKER,
        Role::Monitor => &sandbox_profiles::XS_MONITOR,
        Role::Gate => &sandbox_profiles::XS_GATE,
        Role::Attacher => &sandbox_profiles::ATTACHER,
        Role::Dialog if has_window() => &sandbox_profiles::DIALOG_WINDOW,
        Role::Dialog => &sandbox_profiles::DIALOG_TERMINAL,
        Role::Launcher => &sandbox_profiles::DVM_LAUNCHER,
        Role::Control => &sandbox_profiles::CONTROL,
        Role::Notifier => &sandbox_profiles::NOTIFIER,
    }
}

/// Whether the dialog that is played is the one with a window: both processes have one name, only the programs differ.
fn has_window() -> bool {
    std::fs::read_link("/proc/self/exe").unwrap().ends_with("dialog-window")
}

/// The word of the script for this life; the last one for every later life.
fn this_life() -> String {
    let program = std::fs::read("/proc/self/exe").unwrap();
    let at = program.windows(SCRIPT_MARK.len()).rposition(|part| part == SCRIPT_MARK).unwrap();
    let script = String::from_utf8(program[at + SCRIPT_MARK.len()..].to_vec()).unwrap();
    let mut lines = script.lines();
    let folder = PathBuf::from(lines.next().unwrap());
    let words: Vec<&str> = lines.collect();
    let life = (0..words.len()).find(|life| begins(&folder, *life)).unwrap_or(words.len() - 1);
    words[life].to_owned()
}

/// Whether this life is nobody's yet. It is this process's then.
fn begins(folder: &Path, life: usize) -> bool {
    File::create_new(folder.join(life.to_string())).is_ok()
}
