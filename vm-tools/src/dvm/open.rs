//! `qvm-open-in-dvm`: a document onto a pendrive, and the pendrive to a new DisposableVM.
//!
//! ```text
//! find the documents -> for each: new -> header and document -> number -> send disposable -> final answer
//! ```
//!
//! With `--together` all of them go onto one pendrive ([`super::together`]).
//!
//! The tool ends when the DisposableVM has the document. The answer, if there is one, is received by
//! `qubes_add_pendrive_script`, days later if need be.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::{Arg, Parser};
use protocol::request::Verb;
use protocol::types::{Device, SizeMib};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::document::Document;
use super::seq::Store;
use super::together::Bundle;
use crate::cli::{self, Asked};
use crate::copy::{Freshness, complete, get_pendrive};
use crate::exit;
use crate::failure::Failure;
use crate::interrupt;
use crate::lock::OUTGOING;
use crate::progress::Progress;
use crate::session::{Session, timeout_of};
use crate::shown::Line;

/// The tool's name.
pub const NAME: &str = "qvm-open-in-dvm";
/// Most files on one command line.
pub const FILES_MAX: usize = 100;

const HELP: &str = "\
Opens files in new DisposableVMs. A file that is changed and closed there
replaces the one here; one that is not changed stays as it is.

Usage: qvm-open-in-dvm [OPTIONS] FILE...

Each file gets a DisposableVM of its own, or with --together all share one. The
person in dom0 may be asked first. A link is followed to the real file. The tool
ends when the DisposableVM has the file; the changed one is received by
qubes_add_pendrive_script.

Options:
    --together         open all files in one DisposableVM
    --view-only        open it read-only; nothing ever comes back
    --reuse            use the pendrive that is at /dev/xvdg already, for example
                       after one that was denied; what is on it is lost
    --timeout SECONDS  how long to wait for each answer of dom0
                       (default: 60 for the pendrive, 600 for the answer to send)
    --progress         show progress even when stderr is no terminal
    --help             this text
    --version          the version

";

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    files: Vec<OsString>,
    together: bool,
    view_only: bool,
    reuse: bool,
    timeout: Option<Duration>,
    progress: bool,
}

/// Reads the command line.
///
/// # Errors
/// [`Failure::Usage`].
pub fn parse(mut parser: Parser) -> Result<Asked<Options>, Failure> {
    let mut options = Options {
        files: Vec::new(),
        together: false,
        view_only: false,
        reuse: false,
        timeout: None,
        progress: false,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Asked::Text(format!("{HELP}{}", exit::HELP))),
            Arg::Long("version") => return Ok(Asked::Text(cli::version(NAME))),
            Arg::Long("timeout") => options.timeout = Some(cli::timeout(&parser.value()?)?),
            Arg::Long("together") => options.together = true,
            Arg::Long("view-only") => options.view_only = true,
            Arg::Long("reuse") => options.reuse = true,
            Arg::Long("progress") => options.progress = true,
            Arg::Value(file) => options.files.push(file),
            Arg::Short(_) | Arg::Long(_) => return Err(arg.unexpected().into()),
        }
    }
    if options.files.is_empty() {
        return Err(Failure::usage("say which files to open"));
    }
    if options.files.len() > FILES_MAX {
        return Err(Failure::usage(&format!("at most {FILES_MAX} files at once")));
    }
    Ok(Asked::Work(options))
}

/// Opens the files.
///
/// # Errors
/// Whatever is no success.
pub fn work(options: Options) -> Result<u8, Failure> {
    let documents: Vec<Document> = options
        .files
        .iter()
        .map(|file| find(Path::new(file), options.view_only))
        .collect::<Result<_, _>>()?;
    let loads = load(&documents, &options);
    for load in &loads {
        let needed_mib = load.needed_mib()?;
        SizeMib::new(needed_mib).map_err(|_| Failure::Refused(Line::new("larger than any pendrive")))?;
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let home = home.ok_or_else(|| Failure::failed("HOME is not set to an absolute path"))?;
    if sys::spawn::can_switch_accounts() && !options.view_only {
        return Err(Failure::failed(
            "root receives nothing, so no changed file could come back: run this as the user, or with --view-only",
        ));
    }
    interrupt::check("nothing was asked of dom0")?;
    let mut session = Session::open()?;
    let store = Store::open(&home)?;
    let lock = session.locks.try_take(OUTGOING, "another tool is using the outgoing pendrive")?;
    let mut progress = Progress::new(options.progress);
    let count = loads.len();
    for (number, load) in loads.iter().enumerate() {
        open(&mut session, &store, load, &options, &mut progress).map_err(|failure| {
            match count.saturating_sub(number) {
                0 | 1 => failure,
                rest => failure.with_remark(&format!("{rest} of {count} files were not opened")),
            }
        })?;
    }
    drop(lock);
    Ok(exit::DONE)
}

/// The document of an argument, if an answer can replace it.
fn find(argument: &Path, view_only: bool) -> Result<Document, Failure> {
    let document = Document::find(argument)?;
    let directory = document.path.parent().unwrap_or(Path::new("/"));
    let access = Access::WRITE_OK | Access::EXEC_OK;
    if !view_only && accessat(CWD, directory, access, AtFlags::EACCESS).is_err() {
        let text = format!(
            "{}: its directory cannot be written to, so no changed file could come back: use --view-only",
            argument.display()
        );
        return Err(Failure::Refused(Line::new(&text)));
    }
    match SizeMib::new(document.needed_mib()) {
        Ok(_) => Ok(document),
        Err(_) => {
            Err(Failure::Refused(Line::new(&format!("{}: larger than any pendrive", argument.display()))))
        }
    }
}

/// What goes onto one pendrive.
#[derive(Debug)]
pub(super) enum Load<'a> {
    /// A header and the document; `true` if it is to be looked at only.
    One(&'a Document, bool),
    /// A volume.
    Bundle(Bundle<'a>),
}

impl Load<'_> {
    fn needed_mib(&self) -> Result<u32, Failure> {
        match self {
            Self::One(document, _) => Ok(document.needed_mib()),
            Self::Bundle(bundle) => bundle.needed_mib(),
        }
    }
}

/// One pendrive for each document, or one for all; one document alone needs no volume.
fn load<'a>(documents: &'a [Document], options: &Options) -> Vec<Load<'a>> {
    if options.together && documents.len() > 1 {
        return vec![Load::Bundle(Bundle::new((1..).zip(documents).collect(), options.view_only))];
    }
    documents.iter().map(|document| Load::One(document, options.view_only)).collect()
}

fn open(
    session: &mut Session,
    store: &Store,
    load: &Load<'_>,
    options: &Options,
    progress: &mut Progress,
) -> Result<(), Failure> {
    put_on_pendrive(session, load, options.reuse, options.timeout, progress)?;
    let again =
        format!("the pendrive stays at {}: try again with --reuse", session.devices.shown(Device::Outgoing));
    interrupt::check(&format!("nothing was sent; {again}"))?;

    // Before it is sent: the answer may be fast.
    let paths: Vec<&Path> = match load {
        _ if options.view_only => Vec::new(),
        Load::One(document, _) => vec![document.path.as_path()],
        Load::Bundle(bundle) => bundle.paths(),
    };
    let seq = store.give(&paths)?;
    let verb = Verb::SendDisposable { seq };
    let timeout = options.timeout.unwrap_or_else(|| timeout_of(&verb));
    let sent = session.request(&verb, timeout, &mut |reason| progress.note(&format!("{reason} ...")));
    sent.map_err(|failure| match failure {
        Failure::Reply { .. } | Failure::Busy(_) => {
            // No DisposableVM has it, so none may answer.
            let failure = failure.with_remark(&again);
            store
                .withdraw(seq)
                .err()
                .map_or(failure.clone(), |second| failure.with_remark(&second.to_string()))
        }
        // dom0 may still carry it out.
        Failure::Usage(_)
        | Failure::Failed(_)
        | Failure::Refused(_)
        | Failure::NoAnswer(_)
        | Failure::Interrupted(_) => failure,
    })?;
    match load {
        Load::One(document, _) => {
            progress.note(&format!("{} is in a DisposableVM", fat::Shown(document.name().as_bytes())));
        }
        Load::Bundle(_) => progress.note("the files are in a DisposableVM"),
    }
    Ok(())
}

/// Gets an outgoing pendrive and fills it, and waits until the device has everything. Both directions use this.
pub(super) fn put_on_pendrive(
    session: &mut Session,
    load: &Load<'_>,
    reuse: bool,
    timeout: Option<Duration>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let freshness = get_pendrive(session, reuse, timeout, load.needed_mib()?, progress)?;
    let again =
        format!("the pendrive stays at {}: try again with --reuse", session.devices.shown(Device::Outgoing));
    fill(session, load, freshness, progress).map_err(|failure| failure.with_remark(&again))
}

fn fill(
    session: &mut Session,
    load: &Load<'_>,
    freshness: Freshness,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut device = session.devices.open_for_writing(Device::Outgoing)?;
    let end = match load {
        Load::One(document, is_view_only) => document.write_to(&mut device, *is_view_only, progress)?,
        Load::Bundle(bundle) => bundle.write_to(&mut device, progress)?,
    };
    complete(session, &device, freshness, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Asked<Options>, u8> {
        parse(Parser::from_args(words)).map_err(|failure| failure.exit_code())
    }

    #[test]
    fn at_least_one_file_is_needed() {
        for words in [&[][..], &["--view-only"], &["--timeout", "x", "a"], &["a", "--nonsense"], &["-v", "a"]]
        {
            assert_eq!(parsed(words), Err(exit::USAGE), "{words:?}");
        }
        let Ok(Asked::Work(options)) = parsed(&["--view-only", "a", "--", "--help"]) else { panic!() };
        assert_eq!(options.files, ["a", "--help"]);
        assert!(options.view_only && !options.reuse);
    }

    #[test]
    fn l19_1_to_100_files_at_once() {
        for (count, fits) in [(0, false), (1, true), (FILES_MAX, true), (FILES_MAX + 1, false)] {
            assert_eq!(parsed(&vec!["file"; count]).is_ok(), fits, "{count}");
        }
    }
}
