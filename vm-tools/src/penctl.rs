//! `qubes_penctl`: one request to dom0, and its answer.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use lexopt::{Arg, Parser};
use protocol::request::Verb;
use protocol::types::{Seq, SizeMib};

use crate::cli::{self, Asked};
use crate::exit;
use crate::failure::Failure;
use crate::lock::OUTGOING;
use crate::session::{Session, parse_send, timeout_of};
use crate::shown::say;

/// The tool's name.
pub const NAME: &str = "qubes_penctl";

const HELP: &str = "\
Asks dom0 for one thing, and waits for the answer.

Usage: qubes_penctl [OPTIONS] new [SIZE_MIB]
       qubes_penctl [OPTIONS] send VM [SEQ]
       qubes_penctl [OPTIONS] send disposable SEQ
       qubes_penctl [OPTIONS] umount
       qubes_penctl [OPTIONS] killme

    new      an empty pendrive as /dev/xvdg
    send     /dev/xvdg shall go to the VM of that name, as its /dev/xvdh
    umount   this VM is done with its /dev/xvdh
    killme   this VM is a DisposableVM and has finished

Options:
    --timeout SECONDS  how long to wait for dom0 (default: 600 for send, else 60)
    --progress         say what dom0 waits for even when stderr is no terminal
    --help             this text
    --version          the version

";

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    verb: Verb,
    timeout: Duration,
    says_pending: bool,
}

/// Reads the command line.
///
/// # Errors
/// [`Failure::Usage`].
pub fn parse(mut parser: Parser) -> Result<Asked<Options>, Failure> {
    let mut words: Vec<OsString> = Vec::new();
    let mut timeout = None;
    let mut says_pending = std::io::stderr().is_terminal();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Asked::Text(format!("{HELP}{}", exit::HELP))),
            Arg::Long("version") => return Ok(Asked::Text(cli::version(NAME))),
            Arg::Long("timeout") => timeout = Some(cli::timeout(&parser.value()?)?),
            Arg::Long("progress") => says_pending = true,
            Arg::Value(word) => words.push(word),
            Arg::Short(_) | Arg::Long(_) => return Err(arg.unexpected().into()),
        }
    }
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let verb = parse_verb(&words)?;
    let timeout = timeout.unwrap_or_else(|| timeout_of(&verb));
    Ok(Asked::Work(Options { verb, timeout, says_pending }))
}

fn parse_verb(words: &[&[u8]]) -> Result<Verb, Failure> {
    match words {
        [b"new"] => Ok(Verb::New { size: None }),
        [b"new", size] => {
            let size = cli::number(size).and_then(|mib| SizeMib::new(mib).ok());
            let size = size.ok_or_else(|| Failure::usage("SIZE_MIB is a number from 1 to 2097151"))?;
            Ok(Verb::New { size: Some(size) })
        }
        [b"send", target] => parse_send(target, None),
        [b"send", target, seq] => {
            let seq = cli::number(seq).and_then(|seq| Seq::new(seq).ok());
            let seq = seq.ok_or_else(|| Failure::usage("SEQ is a number from 1 to 2147483647"))?;
            parse_send(target, Some(seq))
        }
        [b"umount"] => Ok(Verb::Umount),
        [b"killme"] => Ok(Verb::Killme),
        [] => Err(Failure::usage("say what dom0 shall do: new, send, umount or killme")),
        [b"new" | b"send" | b"umount" | b"killme", ..] => Err(Failure::usage("too many or too few words")),
        [_, ..] => Err(Failure::usage("dom0 knows new, send, umount and killme")),
    }
}

/// Asks dom0.
///
/// # Errors
/// Whatever is no success.
pub fn work(options: Options) -> Result<u8, Failure> {
    let mut session = Session::open()?;
    let uses_outgoing = match options.verb {
        Verb::New { .. } | Verb::Send { .. } | Verb::SendDisposable { .. } => true,
        Verb::Umount | Verb::Killme => false,
    };
    // Held to the end of this function, so that no copy in progress loses its pendrive.
    let lock = if uses_outgoing {
        Some(session.locks.try_take(OUTGOING, "another tool is using the outgoing pendrive")?)
    } else {
        None
    };
    session.request(&options.verb, options.timeout, &mut |reason| {
        if options.says_pending {
            say(NAME, reason);
        }
    })?;
    drop(lock);
    Ok(exit::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::request_text;
    use protocol::types::ReqId;

    fn asked(words: &[&str]) -> Result<String, u8> {
        let parser = Parser::from_args(words);
        match parse(parser) {
            Ok(Asked::Work(options)) => Ok(format!(
                "{} {}",
                request_text(&options.verb, &ReqId::new(b"r").unwrap()),
                options.timeout.as_secs()
            )),
            Ok(Asked::Text(text)) => Ok(text),
            Err(failure) => Err(failure.exit_code()),
        }
    }

    #[test]
    fn every_request_of_the_contract_can_be_asked() {
        assert_eq!(asked(&["new"]).unwrap(), "new #r 60");
        assert_eq!(asked(&["new", "64", "--timeout", "5"]).unwrap(), "new 64 #r 5");
        assert_eq!(asked(&["--timeout=7", "send", "vault"]).unwrap(), "send vault #r 7");
        assert_eq!(asked(&["send", "vault", "2147483647"]).unwrap(), "send vault 2147483647 #r 600");
        assert_eq!(asked(&["send", "disposable", "1"]).unwrap(), "send disposable 1 #r 600");
        assert_eq!(asked(&["umount"]).unwrap(), "umount #r 60");
        assert_eq!(asked(&["killme"]).unwrap(), "killme #r 60");
    }

    #[test]
    fn wrong_usage_is_told_apart() {
        for words in [
            &[][..],
            &["mount"],
            &["new", "0"],
            &["new", "2097152"],
            &["new", "1", "2"],
            &["new", "-5"],
            &["send"],
            &["send", "a b"],
            &["send", "vault", "0"],
            &["send", "vault", "2147483648"],
            &["send", "disposable"],
            &["umount", "now"],
            &["--timeout", "new"],
            &["--timeout", "0", "new"],
            &["--nonsense"],
            &["-x"],
        ] {
            assert_eq!(asked(words), Err(exit::USAGE), "{words:?}");
        }
    }

    #[test]
    fn help_names_every_exit_code() {
        let help = asked(&["--help"]).unwrap();
        for code in 0..=8 {
            assert!(help.contains(&format!("\n    {code}  ")), "{code}");
        }
        assert!(asked(&["--version"]).unwrap().starts_with("qubes_penctl (qfilexchgd) "));
    }
}
