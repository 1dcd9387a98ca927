//! `policy list`: every rule in the order in which they are tried, with its place.
//!
//! It reads the files, as the daemon did at its start: after a change the daemon has to be started anew.

use lexopt::{Arg, Parser};
use serde_json::{Value, json};

use crate::policy_check::Files;
use crate::{Failure, text};

pub(crate) const HELP: &str = "\
qfilexchgctl policy list - every rule in the order in which they are tried

usage:
  qfilexchgctl policy list [OPTIONS]

options: --json, and --config, --policy-dir, --tags as with policy check

One line for each rule: its place, then its text. Where none matches, the person is asked.
";

pub(crate) fn answer(arguments: &mut Parser) -> Result<String, Failure> {
    let mut files = Files::default();
    let mut as_json = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(HELP.to_owned()),
            Arg::Long("json") => as_json = true,
            Arg::Long("config") => files.config = Some(arguments.value()?.into()),
            Arg::Long("policy-dir") => files.directory = Some(arguments.value()?.into()),
            Arg::Long("tags") => files.tags = Some(arguments.value()?.into()),
            other @ (Arg::Short(_) | Arg::Long(_) | Arg::Value(_)) => return Err(other.unexpected().into()),
        }
    }
    let read = files.read()?;
    let policy = read.parse()?;
    let mut lines = String::new();
    let mut documents = Vec::new();
    for rule in policy.rules() {
        let place = read.place(&rule.origin.to_string());
        if as_json {
            documents.push(json!({
                "file": place.file,
                "line": place.line,
                "action": rule.action.word(),
                "notify": rule.notify,
                "text": place.text,
            }));
        } else {
            lines.push_str(&format!("{}:{}: {}\n", place.file, place.line, place.text));
        }
    }
    Ok(if as_json { text::document(&Value::Array(documents)) } else { lines })
}
