//! `qubes_add_pendrive_script`: what udev runs when `/dev/xvdh` appears.
//!
//! A plain copy is read by fat-reader, a confined process that holds the device and one empty directory (L10), and
//! appears whole in `~/QubesIncoming/SOURCE/`; then the pendrive is given back. This process parses nothing of what the
//! other VM wrote.
//!
//! | what happened | the files | the pendrive |
//! |---|---|---|
//! | read whole | under their final name, on the disk | given back |
//! | no file system, or a damaged or unreasonable one | removed | given back: it will not get better |
//! | fat-reader broke | removed | given back: the sender still has its files |
//! | no space, or the directory cannot be written to | removed | stays, so that this can be run again by hand |
//!
//! A pendrive with a document of a DisposableVM transaction is the business of [`crate::dvm::receive`].

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::{Arg, Parser};
use protocol::request::Verb;
use protocol::types::{Device, Seq, VmName};
use protocol::unpack::{UnpackFailure, UnpackNotice, UnpackSummary};
use xenstore::path::OwnPath;

use crate::cli::{self, Asked};
use crate::desktop::arrival::{self, Arrived};
use crate::dvm::handler::Environment;
use crate::dvm::receive;
use crate::exit;
use crate::failure::Failure;
use crate::inbox::{Inbox, stamp_now};
use crate::interrupt;
use crate::lock::INCOMING;
use crate::mount::incoming::Left;
use crate::mount::{self, Mounting};
use crate::progress::Progress;
use crate::receiver::{Caller, Receiver};
use crate::session::{Session, timeout_of};
use crate::settings::{Incoming, Settings};
use crate::shown::{Line, say};
use crate::unpack::{UnpackError, unpack};
use crate::unpacked::BadTree;

/// The tool's name.
pub const NAME: &str = "qubes_add_pendrive_script";

const HELP: &str = "\
Receives the pendrive at /dev/xvdh: its files appear in ~/QubesIncoming/SOURCE/,
in a new directory with the time (UTC) as its name, and the pendrive is given
back. udev runs this; run it by hand after it failed for want of space.

Usage: qubes_add_pendrive_script [OPTIONS]

Run by root, it becomes the receiving user first: --user, else the one with uid
1000. Run by anybody else, it receives in the caller's own home directory.
When there is no space the pendrive stays; when it cannot be read it goes back.
A document of qvm-open-in-dvm is opened if this is a DisposableVM, and replaces
the one that was sent from here if it has come back.

Options:
    --user NAME        who receives, for root only
    --home DIR         receive in this directory in place of the home directory
    --mode MODE        \"extract\": a confined process reads the file system;
                       \"mount\": this VM's kernel does
                       (default: incoming in /etc/qfilexchg/vm.toml, else extract)
    --timeout SECONDS  how long to wait for dom0 at the end (default: 60)
    --progress         show progress even when stderr is no terminal
    --help             this text
    --version          the version

In mode \"mount\" the pendrive is mounted at /mnt/incoming, read-only, and given
back when somebody unmounts it.

Environment: ACTION (\"add\" if set), DEVNAME (/dev/xvdh if set), HOME.

";

/// What the command line and the environment ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    user: Option<String>,
    home: Option<PathBuf>,
    timeout: Duration,
    /// `None`: as the settings say.
    mode: Option<Incoming>,
    progress: bool,
}

/// Why the pendrive was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Files for the user.
    Copy,
    /// A step of a DisposableVM transaction.
    Transaction(Seq),
}

/// What dom0 says about the pendrive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arrival {
    source: VmName,
    purpose: Purpose,
}

/// Reads the command line.
///
/// # Errors
/// [`Failure::Usage`].
pub fn parse(mut parser: Parser) -> Result<Asked<Options>, Failure> {
    let (mut user, mut home, mut mode, mut progress) = (None, None, None, false);
    let mut timeout = timeout_of(&Verb::Umount);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Asked::Text(format!("{HELP}{}", exit::HELP))),
            Arg::Long("version") => return Ok(Asked::Text(cli::version(NAME))),
            Arg::Long("timeout") => timeout = cli::timeout(&parser.value()?)?,
            Arg::Long("mode") => mode = Some(parse_mode(&parser.value()?)?),
            Arg::Long("progress") => progress = true,
            Arg::Long("user") => {
                let name = parser.value()?.into_string();
                user = Some(name.map_err(|_| Failure::usage("--user takes the name of a user"))?);
            }
            Arg::Long("home") => home = Some(PathBuf::from(parser.value()?)),
            Arg::Short(_) | Arg::Long(_) | Arg::Value(_) => return Err(arg.unexpected().into()),
        }
    }
    check_event(std::env::var_os("ACTION"), std::env::var_os("DEVNAME"))?;
    Ok(Asked::Work(Options { user, home, timeout, mode, progress }))
}

fn parse_mode(value: &OsStr) -> Result<Incoming, Failure> {
    match value.as_bytes() {
        b"extract" => Ok(Incoming::Extract),
        b"mount" => Ok(Incoming::Mount),
        _ => Err(Failure::usage("--mode takes extract or mount")),
    }
}

/// udev says what happened to which device; by hand nobody says anything.
fn check_event(action: Option<OsString>, device: Option<OsString>) -> Result<(), Failure> {
    if action.is_some_and(|action| action != "add") {
        return Err(Failure::usage("ACTION is not add"));
    }
    if device.is_some_and(|device| device != "/dev/xvdh") {
        return Err(Failure::usage("DEVNAME is not /dev/xvdh, the only device that receives"));
    }
    Ok(())
}

/// Receives.
///
/// # Errors
/// Whatever is no success.
pub fn work(options: Options) -> Result<u8, Failure> {
    let mut session = Session::open()?;
    // The tool that gave the last pendrive back may still wait for dom0's answer while the next one arrives.
    let lock =
        session.locks.take(INCOMING, options.timeout, "another tool is reading the incoming pendrive")?;
    let arrival = read_arrival(&mut session)?;
    match arrival.purpose {
        Purpose::Copy => {
            let mode = options.mode.map_or_else(|| Settings::load().map(|settings| settings.incoming), Ok)?;
            match mode {
                Incoming::Extract => receive_copy(&mut session, &arrival.source, options)?,
                Incoming::Mount => receive_mounted(&mut session, &arrival.source, options)?,
            }
        }
        Purpose::Transaction(seq) => return receive_document(&mut session, arrival.source, seq, options),
    }
    drop(lock);
    Ok(exit::DONE)
}

fn read_arrival(session: &mut Session) -> Result<Arrival, Failure> {
    let untrusted_source = session.read(&OwnPath::source())?;
    let untrusted_seq = session.read(&OwnPath::transaction_seq())?;
    parse_arrival(untrusted_source.as_deref(), untrusted_seq.as_deref())
}

fn parse_arrival(untrusted_source: Option<&[u8]>, untrusted_seq: Option<&[u8]>) -> Result<Arrival, Failure> {
    let Some(untrusted_source) = untrusted_source else {
        return Err(Failure::failed("nothing was sent to this VM: there is no qubes_blocksrc"));
    };
    let source = VmName::new(untrusted_source)
        .map_err(|error| Failure::failed(&format!("qubes_blocksrc is wrong: {error}")))?;
    let purpose = match untrusted_seq {
        None | Some(b"0") => Purpose::Copy,
        Some(untrusted_seq) => {
            let seq = cli::number(untrusted_seq).and_then(|seq| Seq::new(seq).ok());
            Purpose::Transaction(seq.ok_or_else(|| Failure::failed("qubes_transaction_seq is no SEQ"))?)
        }
    };
    Ok(Arrival { source, purpose })
}

/// Root's part of a DisposableVM transaction: the device, and becoming the user.
fn receive_document(
    session: &mut Session,
    source: VmName,
    seq: Seq,
    options: Options,
) -> Result<u8, Failure> {
    let timeout = options.timeout;
    match prepare(session, source, seq, options) {
        Ok((document, settings)) => receive::receive(session, document, &settings),
        Err(failure) => Err(receive::ended_if_disposable(session, timeout, failure)),
    }
}

/// What has to be there before a document is looked at.
fn prepare(
    session: &mut Session,
    source: VmName,
    seq: Seq,
    options: Options,
) -> Result<(receive::Arrival, Settings), Failure> {
    let settings = Settings::load()?;
    let device = session.devices.open_for_reading(Device::Incoming)?;
    // Before the change of user, after which nobody is root.
    let is_real_root = sys::spawn::can_switch_accounts();
    let receiver = become_receiver(options.user, options.home)?;
    let progress = Progress::new(options.progress);
    let environment = if is_real_root { Environment::Root } else { Environment::Own };
    let (home, timeout) = (receiver.home, options.timeout);
    let document = receive::Arrival { source, seq, device, home, environment, timeout, progress };
    Ok((document, settings))
}

/// Becomes the user who receives.
fn become_receiver(user: Option<String>, home_option: Option<PathBuf>) -> Result<Receiver, Failure> {
    let receiver = Receiver::find(Caller {
        is_real_root: sys::spawn::can_switch_accounts(),
        home: std::env::var_os("HOME"),
        user,
        home_option,
    })?;
    receiver.become_user()?;
    Ok(receiver)
}

/// Lets the kernel mount the pendrive, and gives it back when somebody unmounts it. All of it as the user, whom
/// `/etc/fstab` permits both, so that the same user may unmount it.
fn receive_mounted(session: &mut Session, source: &VmName, options: Options) -> Result<(), Failure> {
    become_receiver(options.user, options.home)?;
    let mounted = Mounting::default()
        .mount(Device::Incoming, &session.devices)
        .map_err(|failure| failure.with_remark(STAYS))?;
    let point = mounted.point().display().to_string();
    say(
        NAME,
        &Line::new(&format!("{source}: the pendrive is mounted at {point} until somebody unmounts it")),
    );
    arrival::announce(source, Arrived::Pendrive, mounted.point());
    let devices = session.devices.clone();
    match mount::incoming::wait(&mounted, &devices, session)? {
        Left::Unmounted => give_back(session, options.timeout),
        Left::TakenAway => {
            let failure =
                Failure::failed(&format!("{source}: dom0 took the pendrive away while it was mounted"));
            Err(match mounted.unmount() {
                Ok(()) => failure,
                Err(second) => failure.with_remark(&second.to_string()),
            })
        }
    }
}

fn receive_copy(session: &mut Session, source: &VmName, options: Options) -> Result<(), Failure> {
    // Root's part: the device. Everything else is done as the user.
    let device = session.devices.open_for_reading(Device::Incoming)?;
    let receiver = become_receiver(options.user, options.home)?;

    let mut progress = Progress::new(options.progress);
    let stays = |failure: Failure| failure.with_remark(STAYS);
    let inbox = Inbox::open(&receiver.home, source).map_err(stays)?;
    let arriving = inbox.begin().map_err(stays)?;
    let unpacked = unpack(device.into(), arriving.directory(), &mut |notice| told(notice, &mut progress));
    progress.finish();
    // The device is closed by now: fat-reader has ended. An open one would keep dom0 from taking it away.
    let received = match unpacked {
        Ok(summary) => arriving.finish(&stamp_now()).map(|shown| (shown, summary)).map_err(stays),
        Err(error) => Err(not_received(session, source, &error, options.timeout)),
    };
    match received {
        Ok((shown, summary)) => {
            tell_summary(source, &shown, summary);
            let given_back = give_back(session, options.timeout);
            arrival::announce(source, Arrived::Files(summary.files), Path::new(&shown));
            given_back
        }
        Err(failure) => {
            if let Err(second) = arriving.discard() {
                say(NAME, &Line::new(&second.to_string()));
            }
            Err(failure)
        }
    }
}

/// Gives the pendrive back if another try would end the same way; the failure says what became of it.
fn not_received(session: &mut Session, source: &VmName, error: &UnpackError, timeout: Duration) -> Failure {
    let line = Line::new(&format!("{source}: {error}"));
    let failure = if interrupt::requested() { Failure::Interrupted(line) } else { Failure::Failed(line) };
    match fate_of(error) {
        Fate::Stays => failure.with_remark(STAYS),
        Fate::GivenBack => match give_back(session, timeout) {
            Ok(()) => failure.with_remark("nothing was received, and the pendrive was given back"),
            Err(second) => failure.with_remark(&second.to_string()),
        },
    }
}

/// What a failure says when another try may work.
pub(crate) const STAYS: &str = "the pendrive stays at /dev/xvdh: run qubes_add_pendrive_script again";

/// What becomes of a pendrive that could not be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Another try may work.
    Stays,
    /// Another try would end the same way.
    GivenBack,
}

/// What becomes of a pendrive that fat-reader did not read.
pub(crate) fn fate_of(error: &UnpackError) -> Fate {
    match error {
        UnpackError::Failed(failure) => match failure {
            UnpackFailure::DeviceUnreadable
            | UnpackFailure::NotFat
            | UnpackFailure::PartitionTable
            | UnpackFailure::Damaged
            | UnpackFailure::TooManyEntries
            | UnpackFailure::DirectoryTooLarge
            | UnpackFailure::TooDeep => Fate::GivenBack,
            UnpackFailure::NoSpace | UnpackFailure::OutputChanged | UnpackFailure::OutputFailed { .. } => {
                Fate::Stays
            }
        },
        // The volume may have done this, and would do it again.
        UnpackError::Broke(_)
        | UnpackError::Rules
        | UnpackError::Silent
        | UnpackError::Tree(BadTree::OtherThanSaid | BadTree::Name | BadTree::Kind) => Fate::GivenBack,
        // Something of this VM is missing, or it could not enter its sandbox here.
        UnpackError::NotInstalled(_)
        | UnpackError::Start(_)
        | UnpackError::Listen(_)
        | UnpackError::Tree(BadTree::Look(_))
        | UnpackError::Stopped(_)
        | UnpackError::Interrupted => Fate::Stays,
    }
}

fn give_back(session: &mut Session, timeout: Duration) -> Result<(), Failure> {
    session.request(&Verb::Umount, timeout, &mut |_reason| {})
}

fn told(notice: &UnpackNotice, progress: &mut Progress) {
    match notice {
        UnpackNotice::Progress(so_far) => progress.count(so_far.files, so_far.bytes),
        UnpackNotice::Renamed(name) => {
            progress.finish();
            say(NAME, &Line::new(&format!("a name was changed to {}", name.as_str())));
        }
        // These are the result.
        UnpackNotice::Done(_) | UnpackNotice::Failed(_) | UnpackNotice::Stopped(_) => {}
    }
}

fn tell_summary(source: &VmName, shown: &str, summary: UnpackSummary) {
    let UnpackSummary { files, directories, bytes, renamed, overlong } = summary;
    let mut text =
        format!("{source}: {files} files, {directories} directories, {bytes} bytes are in {shown}");
    if renamed > 0 {
        text.push_str(&format!("; {renamed} names were changed"));
    }
    if overlong > 0 {
        text.push_str(&format!("; {overlong} files have more space on the pendrive than they use"));
    }
    say(NAME, &Line::new(&text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_event_of_the_one_device_is_served() {
        assert!(check_event(None, None).is_ok());
        assert!(check_event(Some("add".into()), Some("/dev/xvdh".into())).is_ok());
        for (action, device) in [
            ("remove", "/dev/xvdh"),
            ("change", "/dev/xvdh"),
            ("add", "/dev/xvdg"),
            ("add", "xvdh"),
            ("", ""),
        ] {
            assert!(check_event(Some(action.into()), Some(device.into())).is_err(), "{action} {device}");
        }
    }

    #[test]
    fn what_dom0_says_is_checked() {
        let work = VmName::new(b"work").unwrap();
        let copy = Arrival { source: work.clone(), purpose: Purpose::Copy };
        assert_eq!(parse_arrival(Some(b"work"), Some(b"0")), Ok(copy.clone()));
        assert_eq!(parse_arrival(Some(b"work"), None), Ok(copy));
        let seq = Seq::new(7).unwrap();
        let transaction = Arrival { source: work, purpose: Purpose::Transaction(seq) };
        assert_eq!(parse_arrival(Some(b"work"), Some(b"7")), Ok(transaction));
        for source in [None, Some(&b""[..]), Some(b".."), Some(b"a/b"), Some(b"a\n"), Some(&[b'a'; 64])] {
            assert!(parse_arrival(source, Some(b"0")).is_err(), "{source:?}");
        }
        for seq in [&b""[..], b"-1", b"00", b"2147483648", b"x", b"0\0"] {
            assert!(parse_arrival(Some(b"work"), Some(seq)).is_err(), "{seq:?}");
        }
    }

    #[test]
    fn a_full_disk_keeps_the_pendrive_and_garbage_does_not() {
        assert_eq!(fate_of(&UnpackError::Failed(UnpackFailure::NoSpace)), Fate::Stays);
        assert_eq!(fate_of(&UnpackError::Failed(UnpackFailure::NotFat)), Fate::GivenBack);
        assert_eq!(fate_of(&UnpackError::Rules), Fate::GivenBack);
    }

    #[test]
    fn wrong_usage_is_told_apart() {
        for words in [&["x"][..], &["--user"], &["--timeout", "x"], &["--mode", "write"], &["--nonsense"]] {
            let failure = parse(Parser::from_args(words)).unwrap_err();
            assert_eq!(failure.exit_code(), exit::USAGE, "{words:?}");
        }
    }
}
