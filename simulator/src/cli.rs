//! The command line of `xen-sim`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::Pid;

use crate::control::Command;
use crate::error::{SimError, refused};
use crate::files::{DOM0, HostFiles};
use crate::up::{DialogKind, Disposables, Options, up};
use crate::vm::{enter, holder};

/// Exit code of a failure of `xen-sim exec` itself, which is no exit code of the program.
const EXIT_EXEC_FAILED: u8 = 125;
/// Exit code of any other failure.
const EXIT_FAILED: u8 = 1;
/// Exit code of a command line that makes no sense.
const EXIT_USAGE: u8 = 2;

const USAGE: &str = "\
xen-sim, a simulated Xen host

usage:
  xen-sim up --dir DIR --vm NAME [--vm NAME]... [--no-daemon] [--config FILE]
             [--dialog window|terminal|control|none] [--tools DIR] [--disposables]
             [--disposable-template FILE] [--disposable-rebuild PROGRAM] [--vm-config FILE]
             [--notifications SOCKET]
        run the host and the daemon; `ready` is printed when requests are served;
        SIGTERM or SIGINT ends all. With --disposables the daemon makes DisposableVMs by
        `xen-sim start-disposable`; they are made from FILE if one is named, which PROGRAM
        makes when it is missing. --vm-config is what each of them has as the settings of
        its tools, instead of /etc/qfilexchg/vm.toml. With --notifications notices are shown on
        the desktop, over the session bus at SOCKET
  xen-sim exec --dir DIR VM -- PROGRAM [ARGUMENT]...
        run a program in a VM (dom0: on the host itself); its exit code is passed on,
        128 + N for signal N, 125 for a failure of xen-sim
  xen-sim start|start-disposable|destroy|pause|unpause --dir DIR VM
        create a domain of that name and wait until it is introduced; the same with an empty
        home directory; end it; stop it; let it go on
  xen-sim domid --dir DIR VM
        print the number of that domain; exit code 1 when there is none
  xen-sim ls --dir DIR
        one line per VM: name, domid, state, devices
  xen-sim --help

dom0 reaches xenstored at DIR/xenstored; where DIR is too long for a socket address,
`xen-sim exec --dir DIR dom0 -- printenv XENSTORED_PATH` says where.
";

/// What went wrong, and with which exit code to say so.
enum Failure {
    Usage(String),
    Host(SimError),
    Exec(SimError),
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Usage(text)) => {
            eprintln!("xen-sim: {text}\nTry `xen-sim --help`.");
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Host(error)) => {
            eprintln!("xen-sim: {error}");
            ExitCode::from(EXIT_FAILED)
        }
        Err(Failure::Exec(error)) => {
            eprintln!("xen-sim: {error}");
            ExitCode::from(EXIT_EXEC_FAILED)
        }
    }
}

fn run(mut arguments: Vec<OsString>) -> Result<u8, Failure> {
    if arguments.is_empty() {
        return Err(Failure::Usage("no command".to_owned()));
    }
    let command = arguments.remove(0);
    match command.to_str().unwrap_or_default() {
        "up" => up(&read_options(arguments)?).map_err(Failure::Host),
        "exec" => exec(arguments),
        verb @ ("start" | "start-disposable" | "domid" | "destroy" | "pause" | "unpause" | "ls") => {
            ask(verb, arguments)
        }
        "-h" | "--help" | "help" => {
            print!("{USAGE}");
            Ok(0)
        }
        holder::HOLDER => holder::hold(arguments).map(|()| 0).map_err(Failure::Host),
        holder::FIRST => holder::be_first(arguments).map(|()| 0).map_err(Failure::Host),
        enter::RUN => enter::become_program(arguments).map_err(Failure::Exec),
        enter::ENTER => enter_directly(arguments).map_err(Failure::Exec),
        _ => Err(Failure::Usage(format!("no command {}", command.display()))),
    }
}

fn read_options(arguments: Vec<OsString>) -> Result<Options, Failure> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut dir, mut vms, mut daemon, mut config, mut dialog, mut tools) =
        (None, Vec::new(), true, None, None, None);
    let (mut disposables, mut template, mut rebuild, mut vm_config, mut notifications) =
        (false, None, None, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("dir") => dir = Some(PathBuf::from(parser.value()?)),
            Long("vm") => vms.push(parser.value()?.string()?),
            Long("no-daemon") => daemon = false,
            Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Long("disposables") => disposables = true,
            Long("disposable-template") => template = Some(PathBuf::from(parser.value()?)),
            Long("disposable-rebuild") => rebuild = Some(PathBuf::from(parser.value()?)),
            Long("vm-config") => vm_config = Some(PathBuf::from(parser.value()?)),
            Long("notifications") => notifications = Some(PathBuf::from(parser.value()?)),
            Long("tools") => tools = Some(PathBuf::from(parser.value()?)),
            Long("dialog") => dialog = Some(read_dialog(&parser.value()?.string()?)?),
            Short(_) | Long(_) | Value(_) => return Err(argument.unexpected().into()),
        }
    }
    let dir = dir.ok_or_else(|| Failure::Usage("--dir DIR is missing".to_owned()))?;
    let disposables = disposables.then_some(Disposables { template, rebuild });
    Ok(Options { dir, vms, daemon, config, dialog, tools, disposables, vm_config, notifications })
}

fn read_dialog(word: &str) -> Result<DialogKind, Failure> {
    match word {
        "window" => Ok(DialogKind::Window),
        "terminal" => Ok(DialogKind::Terminal),
        "control" => Ok(DialogKind::Control),
        "none" => Ok(DialogKind::None),
        _ => Err(Failure::Usage("--dialog is window, terminal, control or none".to_owned())),
    }
}

/// Reads `--dir DIR`, then plain words.
fn read_target(arguments: Vec<OsString>) -> Result<(HostFiles, Vec<OsString>), Failure> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut dir, mut words) = (None, Vec::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("dir") => dir = Some(PathBuf::from(parser.value()?)),
            Value(word) => {
                words.push(word);
                if dir.is_some() {
                    // The rest belongs to the program, `--` before it or not.
                    let mut rest = parser.raw_args()?.peekable();
                    rest.next_if(|word| word == "--");
                    words.extend(rest);
                    break;
                }
            }
            Short(_) | Long(_) => return Err(argument.unexpected().into()),
        }
    }
    let dir = dir.ok_or_else(|| Failure::Usage("--dir DIR is missing".to_owned()))?;
    Ok((HostFiles::open(&dir).map_err(Failure::Host)?, words))
}

fn ask(verb: &str, arguments: Vec<OsString>) -> Result<u8, Failure> {
    let (files, words) = read_target(arguments)?;
    let command = match (verb, words.as_slice()) {
        ("ls", []) => Command::List,
        (verb, [vm]) => Command::parse(&format!("{verb} {}", vm.display()))
            .ok_or_else(|| Failure::Usage(format!("`{verb}` takes no VM")))?,
        (verb, _) => return Err(Failure::Usage(format!("`{verb}` takes one VM"))),
    };
    let answer = command.ask(&files).map_err(Failure::Host)?;
    match verb {
        "ls" => print!("{answer}"),
        "domid" => println!("{answer}"),
        _ => {}
    }
    Ok(0)
}

fn exec(arguments: Vec<OsString>) -> Result<u8, Failure> {
    let (files, mut words) = read_target(arguments).map_err(|failure| match failure {
        Failure::Usage(text) => Failure::Exec(SimError::Refused(text)),
        Failure::Host(error) | Failure::Exec(error) => Failure::Exec(error),
    })?;
    if words.is_empty() {
        return Err(Failure::Exec(SimError::Refused("`exec` takes a VM and a program".to_owned())));
    }
    let vm = words.remove(0);
    enter_named(&files, &vm, words).map_err(Failure::Exec)
}

fn enter_named(files: &HostFiles, vm: &OsString, program: Vec<OsString>) -> Result<u8, SimError> {
    let answer = Command::Enter(vm.display().to_string()).ask(files)?;
    if vm == DOM0 {
        return enter::exec(program, &[("XENSTORED_PATH", answer.into())]);
    }
    match answer.parse().ok().and_then(Pid::from_raw) {
        Some(first) => enter::run_in_vm(first, program, &[]),
        None => refused("the host gave no answer"),
    }
}

/// `vm-enter PID NAME=VALUE... -- PROGRAM ARGUMENTS`, for the host itself.
fn enter_directly(arguments: Vec<OsString>) -> Result<u8, SimError> {
    let mut words = arguments.into_iter();
    let first = words.next().and_then(|number| Pid::from_raw(number.to_str()?.parse().ok()?));
    let mut environment = Vec::new();
    for word in words.by_ref().take_while(|word| word != "--") {
        let text = word.to_str().unwrap_or_default();
        let Some((name, value)) = text.split_once('=') else { return refused("not NAME=VALUE") };
        environment.push((name.to_owned(), value.to_owned()));
    }
    let Some(first) = first else { return refused("no process was named") };
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    enter::run_in_vm(first, words.collect(), &environment)
}
