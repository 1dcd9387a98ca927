//! `cargo xtask demo`: the main job, on a simulated host, with every process the real one in its real sandbox.

mod compare;
mod documents;
mod host;
mod processes;
mod tree;

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lexopt::{Arg, Parser};

use crate::run::{self, step};
use crate::{Outcome, next, workspace};
pub use compare::same;
use host::{Answers, Host};
use processes::Table;

/// The option that names a folder of programs that are built already.
pub const PROGRAMS_OPTION: &str = "--programs";

/// How long the whole transfer may take, the person's thinking included.
const TRANSFER_S_MAX: u64 = 180;
/// How often the processes are looked at meanwhile.
const LOOK_MS: u64 = 20;
/// The tree's name in the sender's home.
const TREE: &str = "tree";

/// What the command line asks for.
struct Options {
    yes: bool,
    programs: Option<PathBuf>,
}

/// Runs the demo.
pub fn main(arguments: &mut Parser) -> Outcome<()> {
    let options = options(arguments)?;
    let answers = if options.yes {
        Answers::Given
    } else if std::io::stdin().is_terminal() {
        Answers::Typed
    } else {
        return Err("there is no terminal to ask on: use cargo xtask demo --yes".to_owned());
    };
    let programs = match options.programs {
        Some(programs) => programs,
        None => {
            step("building the programs");
            workspace::build(false)?
        }
    };
    let scratch = tempfile::Builder::new()
        .prefix("qfilexchg-demo-")
        .tempdir()
        .map_err(|error| format!("a temporary folder: {error}"))?;
    let outcome = transfer(&programs, scratch.path(), answers);
    // By hand, because an error here must be seen.
    let cleaned = scratch.close().map_err(|error| format!("cleaning up: {error}"));
    outcome.and(cleaned)?;
    println!("\nthe demo succeeded");
    Ok(())
}

fn options(arguments: &mut Parser) -> Outcome<Options> {
    let mut options = Options { yes: false, programs: None };
    while let Some(argument) = next(arguments)? {
        match argument {
            Arg::Long("yes") => options.yes = true,
            Arg::Long("programs") => {
                options.programs = Some(arguments.value().map_err(|error| error.to_string())?.into());
            }
            other @ (Arg::Short(_) | Arg::Long(_) | Arg::Value(_)) => {
                return Err(other.unexpected().to_string());
            }
        }
    }
    Ok(options)
}

/// From the start of the host to its end.
fn transfer(programs: &Path, folder: &Path, answers: Answers) -> Outcome<()> {
    step("starting a simulated host with the VMs work, vault and mail");
    let mut host = Host::start(programs, folder, answers)?;
    let outcome = copy(&host, folder);
    let ended = host.end();
    outcome.and(ended)
}

fn copy(host: &Host, folder: &Path) -> Outcome<()> {
    step("making a tree in the home of work");
    let source = folder.join("vms/work/home").join(TREE);
    let made = tree::make(&source).map_err(|error| format!("making the tree: {error}"))?;
    println!("{} files, {} folders, {} MiB", made.files, made.folders, made.bytes >> 20);

    step("in work: qvm-copy-to-vm vault tree");
    let began = Instant::now();
    let mut table = send(host, folder)?;
    let incoming = folder.join("vms/vault/home/QubesIncoming/work");
    let arrived = wait_for_arrival(&incoming, began)?;
    println!(
        "arrived as QubesIncoming/work/{} after {:.1} s",
        shown(&arrived),
        began.elapsed().as_secs_f64()
    );

    step("comparing names and SHA-256 of both trees");
    let count = same(&source, &arrived.join(TREE))?;
    println!("{count} files and folders are the same");

    documents::play(host, folder, &mut table)?;
    step("the processes during all this, as /proc shows them");
    print!("{table}");
    table.check()
}

/// Runs the tool in the VM, and looks at the processes meanwhile.
fn send(host: &Host, folder: &Path) -> Outcome<Table> {
    let output_file = folder.join("qvm-copy-to-vm.log");
    let output = fs::File::create(&output_file).map_err(|error| format!("a file for output: {error}"))?;
    let errors = output.try_clone().map_err(|error| format!("a file for output: {error}"))?;
    let mut command: Command = host.exec("work", &["qvm-copy-to-vm", "vault", TREE]);
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let mut child = command.spawn().map_err(|error| format!("qvm-copy-to-vm: {error}"))?;
    let mut table = Table::default();
    let began = Instant::now();
    let status = loop {
        table.look(host.pid());
        if let Some(status) = child.try_wait().map_err(|error| format!("qvm-copy-to-vm: {error}"))? {
            break status;
        }
        if began.elapsed() > Duration::from_secs(TRANSFER_S_MAX) {
            // The host ends it as well.
            let _ = child.kill();
            return Err(format!("qvm-copy-to-vm did not end within {TRANSFER_S_MAX} s"));
        }
        sleep(Duration::from_millis(LOOK_MS));
    };
    let said = fs::read_to_string(&output_file).unwrap_or_default();
    print!("{said}");
    run::check(status, "qvm-copy-to-vm")?;
    // The receiver unpacks for a while after the sender was told that all is well.
    table.look(host.pid());
    Ok(table)
}

/// Waits until a folder has its final name, which it gets when everything is in it.
fn wait_for_arrival(incoming: &Path, began: Instant) -> Outcome<PathBuf> {
    loop {
        let entries = fs::read_dir(incoming).into_iter().flatten().flatten();
        let complete = entries.map(|entry| entry.path()).find(|path| !shown(path).starts_with('.'));
        if let Some(complete) = complete {
            return Ok(complete);
        }
        if began.elapsed() > Duration::from_secs(TRANSFER_S_MAX) {
            return Err(format!("nothing arrived in vault within {TRANSFER_S_MAX} s"));
        }
        sleep(Duration::from_millis(LOOK_MS));
    }
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
