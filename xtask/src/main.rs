//! `cargo xtask COMMAND`: every command of a developer. One module each.

mod arm;
mod bench;
mod demo;
mod fuzz;
mod model;
mod mutants;
#[cfg(test)]
mod named_tests;
mod package;
mod profiles;
mod run;
mod screenshots;
mod supply;
mod test;
mod workspace;
mod xen;

use std::process::ExitCode;

use lexopt::{Arg, Parser};

const HELP: &str = "\
cargo xtask - what a developer of qfilexchgd does

usage:
  cargo xtask demo [--yes]   copy a tree between two VMs of a simulated host; asks you, or with
                             --yes answers the question itself
  cargo xtask test           everything that must hold before a change is accepted
  cargo xtask xen-test [--fresh] [NAME]
                             the scenarios of a real Xen host, under QEMU: all, or those whose
                             names contain NAME; --fresh boots although a saved host is there
  cargo xtask xen-shell      a shell in dom0 of that host, with the daemon and two guests
  cargo xtask xen-bench [PART,PART]
                             how fast it is on that host, against the toolstack's own commands: devices,
                             copies, documents and cost, or those parts of it
  cargo xtask arm-test [PART,PART]
                             the tests of the confinement on aarch64, in a machine under QEMU: all,
                             or the programs with one of these parts in their names
  cargo xtask bench [--dir DIR]
                             how fast it is, against the usual tools, with files in DIR
  cargo xtask fuzz [--seconds N] [--jobs N] [--without-sanitizer] [TARGET...]
                             the fuzz targets, or these, under AddressSanitizer; with --coverage,
                             what lines the inputs reach that were found (docs/fuzzing.md)
  cargo xtask docs           write docs/dependencies.md anew
  cargo xtask sbom [--out DIR]
                             which crates are in each package, as CycloneDX, in DIR or target/sbom
  cargo xtask reproducible   build all programs twice, in different folders, and compare them
  cargo xtask model [NAME...]
                             explore the broker's state machine in the large configurations of
                             docs/model.md, or in those that are named
  cargo xtask mutants [WORD] [--dir DIR]
                             take each protection of xtask/mutants.toml out of a copy of the tree
                             in DIR or target/mutants, and see its test fail
  cargo xtask screenshots    make the pictures in docs/screenshots/ anew
  cargo xtask package [--profile dev|release] [--out DIR]
                             the .deb packages for dom0 and the VMs, in DIR or target/packages;
                             --programs DIR takes programs that are built already, and
                             --rpm-root DIR lays the files out for an RPM instead
  cargo xtask profiles-table [--check]
                             make docs/profiles.md anew from sandbox-profiles/, or look whether it is current
  cargo xtask profile-use [TRACE ...]
                             run the tests under strace and list the rules of the profiles that nothing
                             used; takes long. Or: list them from traces of strace that are there
";

/// What a command comes to: nothing, or a sentence about what went wrong.
type Outcome<T> = Result<T, String>;

fn main() -> ExitCode {
    match dispatch(&mut Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &mut Parser) -> Outcome<()> {
    let command = match next(arguments)? {
        Some(Arg::Value(command)) => command,
        Some(Arg::Short('h') | Arg::Long("help")) => {
            print!("{HELP}");
            return Ok(());
        }
        Some(other @ (Arg::Short(_) | Arg::Long(_))) => return Err(other.unexpected().to_string()),
        None => return Err(format!("which command?\n\n{HELP}")),
    };
    match command.to_str() {
        Some("arm-test") => arm::test(arguments),
        Some("bench") => bench::main(arguments),
        Some("demo") => demo::main(arguments),
        Some("fuzz") => fuzz::main(arguments),
        Some("model") => model::main(arguments),
        Some("screenshots") => {
            no_more(arguments)?;
            screenshots::main()
        }
        Some("docs") => supply::docs(arguments),
        Some("mutants") => mutants::main(arguments),
        Some("package") => package::main(arguments),
        Some("profiles-table") => profiles::table(arguments),
        Some("profile-use") => profiles::used(arguments),
        Some("reproducible") => supply::reproducible(arguments),
        Some("sbom") => supply::sbom(arguments),
        Some("xen-test") => xen::test(arguments),
        Some("xen-bench") => xen::bench(arguments),
        Some("xen-shell") => {
            no_more(arguments)?;
            xen::shell()
        }
        Some("test") => {
            no_more(arguments)?;
            test::main()
        }
        _ => Err(format!("no such command\n\n{HELP}")),
    }
}

/// The next word of the command line.
fn next(arguments: &mut Parser) -> Outcome<Option<Arg<'_>>> {
    arguments.next().map_err(|error| error.to_string())
}

/// A temporary folder, whose name begins like this.
fn scratch_folder(begin: &str) -> Outcome<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix(begin).tempdir();
    made.map_err(|error| format!("a temporary folder: {error}"))
}

fn no_more(arguments: &mut Parser) -> Outcome<()> {
    match next(arguments)? {
        None => Ok(()),
        Some(other) => Err(other.unexpected().to_string()),
    }
}
