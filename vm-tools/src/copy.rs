//! `qvm-copy-to-vm`: files onto a pendrive, and the pendrive to another VM.
//!
//! ```text
//! find the files -> plan the volume -> new -> write in one pass -> send -> final answer
//! ```
//!
//! Whatever cannot work is refused before dom0 is asked. Nothing is ever changed or removed at the source (L22).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use fat::{Entry, LayoutError, Plan, Tree, TreeError, VolumeLabel, VolumeSize, WriteError};
use lexopt::{Arg, Parser};
use protocol::request::Verb;
use protocol::types::{Device, SizeMib, VmName};
use rustix::fs::fdatasync;
use xenstore::path::OwnPath;

use crate::cli::{self, Asked};
use crate::device::size_bytes;
use crate::exit;
use crate::failure::Failure;
use crate::interrupt;
use crate::lock::OUTGOING;
use crate::mount::{self, Mounting};
use crate::progress::Progress;
use crate::session::{Session, random_hex, timeout_of};
use crate::settings::{Outgoing, Settings};
use crate::shown::{Line, say};
use crate::tree::{CollectError, Files, Found, Skipped, collect};

/// Read and cleared at once behind the volume on a reused pendrive, in bytes.
const CLEAR_BLOCK_BYTES: usize = 256 * 1024;
/// The tool's name.
pub const NAME: &str = "qvm-copy-to-vm";
/// Smallest pendrive that is asked for, in MiB. A smaller one would hold every tree that fits into this one as well, but
/// not every daemon makes it.
pub const PENDRIVE_MIB_MIN: u32 = 64;
/// Skipped entries that are listed; the others are only counted.
pub const SKIPPED_LISTED_MAX: usize = 100;
/// What is said of a pendrive that dom0 has taken away while it was written.
const GONE: &str = "the pendrive is gone, and nothing was sent";
/// How long the device may take to appear after dom0 has made it, in seconds.
const DEVICE_SECONDS_MAX: u64 = 10;

const HELP: &str = "\
Copies files and directories to another VM, into its ~/QubesIncoming.

Usage: qvm-copy-to-vm [OPTIONS] VM FILE...

The person in dom0 may be asked first. Links, devices and sockets are named and
skipped, never followed. Files over 4 GiB and names that FAT cannot hold are
refused before anything is asked of dom0. Nothing is changed at the source.

Options:
    --reuse            use the pendrive that is at /dev/xvdg already, for example
                       after a copy that was denied; what is on it is lost
    --timeout SECONDS  how long to wait for each answer of dom0
                       (default: 60 for the pendrive, 600 for the answer to send)
    --mode MODE        \"write\": write the file system without mounting it;
                       \"mount\": mount it at /mnt/outgoing and copy into it
                       (default: outgoing in /etc/qfilexchg/vm.toml, else write)
    --progress         show progress even when stderr is no terminal
    --progress-lines   on stdout, for programs: \"progress DONE_BYTES TOTAL_BYTES\"
                       at most ten times a second, and \"note TEXT\"
    --help             this text
    --version          the version

";

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    to: VmName,
    files: Vec<OsString>,
    reuse: bool,
    timeout: Option<Duration>,
    /// `None`: as the settings say.
    mode: Option<Outgoing>,
    progress: bool,
    progress_lines: bool,
}

/// Reads the command line.
///
/// # Errors
/// [`Failure::Usage`].
pub fn parse(mut parser: Parser) -> Result<Asked<Options>, Failure> {
    let (mut to, mut files) = (None, Vec::new());
    let (mut reuse, mut timeout, mut mode) = (false, None, None);
    let (mut progress, mut progress_lines) = (false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Asked::Text(format!("{HELP}{}", exit::HELP))),
            Arg::Long("version") => return Ok(Asked::Text(cli::version(NAME))),
            Arg::Long("timeout") => timeout = Some(cli::timeout(&parser.value()?)?),
            Arg::Long("reuse") => reuse = true,
            Arg::Long("mode") => mode = Some(parse_mode(&parser.value()?)?),
            Arg::Long("progress") => progress = true,
            Arg::Long("progress-lines") => progress_lines = true,
            Arg::Value(name) if to.is_none() => {
                to = Some(VmName::new(name.as_bytes()).map_err(|error| Failure::usage(&error.to_string()))?);
            }
            Arg::Value(file) => files.push(file),
            Arg::Short(_) | Arg::Long(_) => return Err(arg.unexpected().into()),
        }
    }
    let to = to.ok_or_else(|| Failure::usage("say which VM gets the files"))?;
    if files.is_empty() {
        return Err(Failure::usage("say which files to copy"));
    }
    Ok(Asked::Work(Options { to, files, reuse, timeout, mode, progress, progress_lines }))
}

fn parse_mode(value: &OsStr) -> Result<Outgoing, Failure> {
    match value.as_bytes() {
        b"write" => Ok(Outgoing::Write),
        b"mount" => Ok(Outgoing::Mount),
        _ => Err(Failure::usage("--mode takes write or mount")),
    }
}

/// Copies.
///
/// # Errors
/// Whatever is no success.
pub fn work(options: Options) -> Result<u8, Failure> {
    let mut progress = Progress::new(options.progress).with_lines(options.progress_lines);
    let mode = options.mode.map_or_else(|| Settings::load().map(|settings| settings.outgoing), Ok)?;
    let Found { entries, skipped, mut files } = collect(&options.files).map_err(not_collected)?;
    tell_skipped(&skipped);
    let count = entries.len();
    let copied = if mode == Outgoing::Mount { entries.clone() } else { Vec::new() };
    let tree = Tree::check(entries).map_err(not_fitting)?;
    // What the kernel writes into a mounted pendrive needs no more space: the tool's own long names are the longest.
    let needed_mib = tree.size_needed_mib().map_err(|error| too_large(&error))?;
    interrupt::check("nothing was asked of dom0")?;

    let mut session = Session::open()?;
    let lock = session.locks.try_take(OUTGOING, "another tool is using the outgoing pendrive")?;
    let freshness = get_pendrive(&mut session, options.reuse, options.timeout, needed_mib, &mut progress)?;
    let xvdg = session.devices.shown(Device::Outgoing);
    let again = format!("the pendrive stays at {xvdg}: try again with --reuse");

    let written = match mode {
        Outgoing::Write => write_pendrive(&mut session, freshness, tree, &mut files, &mut progress),
        Outgoing::Mount => fill_pendrive(&mut session, freshness, &copied, &mut files, &mut progress),
    };
    // dom0 may have taken it away meanwhile.
    let is_there = session.devices.is_present(Device::Outgoing);
    written.map_err(|failure| failure.with_remark(if is_there { &again } else { GONE }))?;
    interrupt::check(&format!("nothing was sent; {again}"))?;

    let verb = Verb::Send { to: options.to.clone(), seq: None };
    let timeout = options.timeout.unwrap_or_else(|| timeout_of(&verb));
    let sent = session.request(&verb, timeout, &mut |reason| progress.note(&format!("{reason} ...")));
    sent.map_err(|failure| match failure {
        Failure::Reply { .. } | Failure::Busy(_) => failure.with_remark(&again),
        Failure::Usage(_)
        | Failure::Failed(_)
        | Failure::Refused(_)
        | Failure::NoAnswer(_)
        | Failure::Interrupted(_) => failure,
    })?;
    drop(lock);
    progress.note(&format!("{count} files and directories were sent to {}", options.to));
    Ok(if skipped.is_empty() { exit::DONE } else { exit::SKIPPED })
}

/// What a pendrive holds before it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Nothing but dom0's empty file system.
    Fresh,
    /// Perhaps what was meant for another VM, which did not get it.
    Reused,
}

/// Sees to it that there is a pendrive which only this tool uses.
pub(crate) fn get_pendrive(
    session: &mut Session,
    reuse: bool,
    timeout: Option<Duration>,
    needed_mib: u32,
    progress: &mut Progress,
) -> Result<Freshness, Failure> {
    let is_there = session.devices.is_present(Device::Outgoing);
    let xvdg = session.devices.shown(Device::Outgoing);
    if is_there && reuse {
        return Ok(Freshness::Reused);
    }
    if is_there {
        let text = format!("there is a pendrive at {xvdg} already: --reuse overwrites and sends it");
        return Err(Failure::Busy(Line::new(&text)));
    }
    let size = SizeMib::new(needed_mib.max(PENDRIVE_MIB_MIN))
        .map_err(|error| Failure::failed(&error.to_string()))?;
    let verb = Verb::New { size: Some(size) };
    let timeout = timeout.unwrap_or_else(|| timeout_of(&verb));
    session.request(&verb, timeout, &mut |reason| progress.note(&format!("{reason} ...")))?;
    session.wait_for_device(Device::Outgoing, Duration::from_secs(DEVICE_SECONDS_MAX))?;
    Ok(Freshness::Fresh)
}

/// Plans the volume for the device as it is, and writes it.
fn write_pendrive(
    session: &mut Session,
    freshness: Freshness,
    tree: Tree,
    files: &mut Files,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut device = session.devices.open_for_writing(Device::Outgoing)?;
    let size = VolumeSize::from_bytes(size_bytes(&mut device)?)
        .map_err(|error| Failure::failed(&format!("the pendrive cannot be used: {error}")))?;
    let (label, volume_id) = label_and_id(session)?;
    let plan = tree
        .layout(size, label, volume_id)
        .map_err(|error| Failure::failed(&format!("the pendrive is too small: {error}")))?;
    progress.restart();
    let written = write_plan(&plan, &mut device, files, progress);
    progress.finish();
    written?;
    complete(session, &device, freshness, plan.bytes_total())
}

/// Clears what lies behind the last byte that was written now, if an earlier try could have left anything, and waits
/// until the device has everything.
pub(crate) fn complete(
    session: &Session,
    device: &File,
    freshness: Freshness,
    end: u64,
) -> Result<(), Failure> {
    if freshness == Freshness::Reused {
        let reader = session.devices.open_for_reading(Device::Outgoing)?;
        clear_from(&reader, device, end).map_err(|error| not_cleared(&error))?;
    }
    fdatasync(device).map_err(|errno| Failure::failed(&format!("cannot write to the pendrive: {errno}")))
}

/// Lets the kernel mount the pendrive, and copies into it.
fn fill_pendrive(
    session: &mut Session,
    freshness: Freshness,
    entries: &[Entry],
    files: &mut Files,
    progress: &mut Progress,
) -> Result<(), Failure> {
    if freshness == Freshness::Reused {
        let (label, volume_id) = label_and_id(session)?;
        let reader = session.devices.open_for_reading(Device::Outgoing)?;
        mount::outgoing::wipe(&session.devices, label, volume_id, |device| {
            clear_from(&reader, device, 0).map_err(|error| not_cleared(&error))
        })?;
    }
    mount::outgoing::write(&Mounting::default(), &session.devices, entries, files, progress)
}

/// What a volume of this VM is called.
fn label_and_id(session: &mut Session) -> Result<(VolumeLabel, u32), Failure> {
    let name = session.read(&OwnPath::name())?.and_then(|name| VmName::new(&name).ok());
    let label = VolumeLabel::from_name(name.as_ref().map_or("pendrive", VmName::as_str));
    let volume_id = u32::from_str_radix(random_hex()?.get(..8).unwrap_or_default(), 16).unwrap_or_default();
    Ok((label, volume_id))
}

fn not_cleared(error: &io::Error) -> Failure {
    if interrupt::requested() {
        return Failure::Interrupted(Line::new("interrupted: nothing was sent"));
    }
    Failure::failed(&format!("cannot clear the rest of the pendrive: {error}"))
}

/// Zeroes whatever lies behind the new volume's last byte: it was meant for another VM. Only blocks that hold
/// something are written, so that a sparse image stays sparse.
fn clear_from(reader: &File, device: &File, mut offset: u64) -> io::Result<()> {
    let mut block = vec![0; CLEAR_BLOCK_BYTES];
    let zeroes = vec![0; CLEAR_BLOCK_BYTES];
    loop {
        if interrupt::requested() {
            return Err(io::Error::other("interrupted"));
        }
        let count = reader.read_at(&mut block, offset)?;
        if count == 0 {
            return Ok(());
        }
        if block.iter().take(count).any(|&byte| byte != 0) {
            device.write_all_at(zeroes.get(..count).unwrap_or_default(), offset)?;
        }
        offset = offset.saturating_add(u64::try_from(count).unwrap_or_default());
    }
}

fn write_plan(
    plan: &Plan,
    device: &mut File,
    files: &mut Files,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let total_bytes = plan.bytes_total();
    let mut stoppable = Stoppable { device };
    let written =
        fat::write(plan, &mut stoppable, files, &mut |done_bytes| progress.update(done_bytes, total_bytes));
    written.map_err(|error| {
        if interrupt::requested() {
            return Failure::Interrupted(Line::new("interrupted: nothing was sent"));
        }
        not_written(&error)
    })
}

/// A device that takes no more bytes after Ctrl-C.
struct Stoppable<'a> {
    device: &'a mut File,
}

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if interrupt::requested() {
            return Err(io::Error::other("interrupted"));
        }
        self.device.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.device.flush()
    }
}

fn tell_skipped(skipped: &[Skipped]) {
    for entry in skipped.iter().take(SKIPPED_LISTED_MAX) {
        say(NAME, &Line::new(&entry.to_string()));
    }
    let more = skipped.len().saturating_sub(SKIPPED_LISTED_MAX);
    if more > 0 {
        say(NAME, &Line::new(&format!("{more} more were skipped")));
    }
}

fn not_collected(error: CollectError) -> Failure {
    match error {
        CollectError::NoArguments => Failure::usage(&error.to_string()),
        CollectError::NothingLeft(skipped) => {
            tell_skipped(&skipped);
            Failure::Refused(Line::new("there is nothing to send: everything was skipped"))
        }
        CollectError::NoName(_)
        | CollectError::NotFound { .. }
        | CollectError::SameName { .. }
        | CollectError::TooManyEntries => Failure::Refused(Line::new(&error.to_string())),
    }
}

fn not_fitting(error: TreeError) -> Failure {
    match error {
        TreeError::Refused(refusals) => {
            for refusal in &refusals.listed {
                say(NAME, &Line::new(&refusal.to_string()));
            }
            let listed = u64::try_from(refusals.listed.len()).unwrap_or(u64::MAX);
            let count = refusals.more.saturating_add(listed);
            Failure::Refused(Line::new(&format!(
                "{count} entries cannot go onto a pendrive, so nothing was sent"
            )))
        }
        TreeError::TooManyEntries | TreeError::TooManyDirectories | TreeError::NoSuchParent { .. } => {
            Failure::Refused(Line::new(&error.to_string()))
        }
    }
}

fn too_large(error: &LayoutError) -> Failure {
    Failure::Refused(Line::new(&error.to_string()))
}

fn not_written(error: &WriteError) -> Failure {
    Failure::failed(&error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Asked<Options>, u8> {
        parse(Parser::from_args(words)).map_err(|failure| failure.exit_code())
    }

    #[test]
    fn a_vm_and_at_least_one_file_are_needed() {
        for words in [
            &[][..],
            &["vault"],
            &["va ult", "x"],
            &["", "x"],
            &["--timeout"],
            &["vault", "x", "--nonsense"],
            &["--mode", "extract", "vault", "x"],
        ] {
            assert_eq!(parsed(words), Err(exit::USAGE), "{words:?}");
        }
        let Ok(Asked::Work(options)) = parsed(&["--reuse", "vault", "a", "--", "--help"]) else { panic!() };
        assert_eq!(options.files, ["a", "--help"]);
        assert!(options.reuse);
        assert_eq!(options.mode, None);
        let Ok(Asked::Work(options)) = parsed(&["--mode=mount", "vault", "a"]) else { panic!() };
        assert_eq!(options.mode, Some(Outgoing::Mount));
    }

    #[test]
    fn help_names_the_exit_codes() {
        let Ok(Asked::Text(help)) = parsed(&["vault", "--help"]) else { panic!() };
        assert!(help.contains("Exit codes:"));
    }
}
