//! The second half of the demo: documents of the VM *mail* go through DisposableVMs.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::host::Host;
use super::processes::Table;
use crate::Outcome;
use crate::run::{self, step};

/// What opens documents in the DisposableVMs of the demo: an editor that corrects one word.
pub const SETTINGS: &str = "open_with = [\"/bin/sed\", \"-i\", \"s/draft/letter/\"]\nhand_over_s = 1\n";
/// The VM whose documents these are.
pub const VM: &str = "mail";

/// How long one document may take, the person's thinking included.
const DOCUMENT_S_MAX: u64 = 180;
const LOOK_MS: u64 = 20;

/// One document, and what must become of it.
struct Case {
    title: &'static str,
    options: &'static [&'static str],
    before: &'static str,
    after: &'static str,
}

const CASES: [Case; 3] = [
    Case {
        title: "a document that is edited comes back",
        options: &[],
        before: "This is a draft.\n",
        after: "This is a letter.\n",
    },
    Case {
        title: "one that the editor leaves as it is does not come back",
        options: &[],
        before: "Nothing to correct.\n",
        after: "Nothing to correct.\n",
    },
    Case {
        title: "one that is only viewed cannot come back, whatever happens to it there",
        options: &["--view-only"],
        before: "This is a draft.\n",
        after: "This is a draft.\n",
    },
];

/// Plays every case.
pub fn play(host: &Host, folder: &Path, table: &mut Table) -> Outcome<()> {
    for (number, case) in CASES.iter().enumerate() {
        step(case.title);
        let name = format!("document-{}.txt", number + 1);
        open(host, folder, case, &name, table)?;
    }
    Ok(())
}

fn open(host: &Host, folder: &Path, case: &Case, name: &str, table: &mut Table) -> Outcome<()> {
    let document = folder.join("vms").join(VM).join("home").join(name);
    fs::write(&document, case.before).map_err(|error| format!("writing {name}: {error}"))?;
    let words = [&["qvm-open-in-dvm"], case.options, &[name]].concat();
    println!("in {VM}: {}", words.join(" "));
    let mut child = host
        .exec(VM, &words)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("qvm-open-in-dvm: {error}"))?;
    let began = Instant::now();
    let status = loop {
        table.look(host.pid());
        if let Some(status) = child.try_wait().map_err(|error| format!("qvm-open-in-dvm: {error}"))? {
            break status;
        }
        in_time(began)?;
        sleep(Duration::from_millis(LOOK_MS));
    };
    run::check(status, "qvm-open-in-dvm")?;
    println!("it is in a DisposableVM after {:.2} s", began.elapsed().as_secs_f64());
    wait_for_the_end(host, began)?;
    let read = || fs::read_to_string(&document).map_err(|error| format!("reading {name}: {error}"));
    // The DisposableVM is destroyed as soon as its answer is with the owner, who then still has to put it in place.
    while case.after != case.before && read()? == case.before {
        in_time(began)?;
        sleep(Duration::from_millis(LOOK_MS));
    }
    let text = read()?;
    print!("{name} now: {text}");
    if text != case.after {
        return Err(format!("{name} should have been: {}", case.after));
    }
    Ok(())
}

/// Waits until the DisposableVM is destroyed. Whatever comes back has left it before.
fn wait_for_the_end(host: &Host, began: Instant) -> Outcome<()> {
    while host.has_disposables()? {
        in_time(began)?;
        sleep(Duration::from_millis(LOOK_MS));
    }
    println!("the DisposableVM is gone after {:.2} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn in_time(began: Instant) -> Outcome<()> {
    if began.elapsed() > Duration::from_secs(DOCUMENT_S_MAX) {
        return Err(format!("the document took longer than {DOCUMENT_S_MAX} s"));
    }
    Ok(())
}
