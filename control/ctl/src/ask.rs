//! Verbs that ask the daemon once: `status`, `log`, `pendrives`, `disposables`, `questions`, `kill`.

use std::time::{Duration, Instant};

use lexopt::Parser;
use protocol::control::{ControlReply, ControlRequest, KillOutcome};
use protocol::types::ImageId;
use serde_json::{Value, json};

use crate::client::Client;
use crate::options::{Options, Parsed};
use crate::{Failure, HELP, list, text};

/// Fewest digits of a pendrive's identity that name it.
const PREFIX_DIGITS_MIN: usize = 8;
/// Digits of a whole identity.
const IDENTITY_DIGITS: usize = 32;
/// How long a killed pendrive may take to be gone, in milliseconds.
const KILL_MS_MAX: u64 = 30_000;
/// How often it is looked whether it is gone, in milliseconds.
const KILL_LOOK_MS: u64 = 100;

/// One verb: its words are read, then the daemon is asked.
fn ask(
    arguments: &mut Parser,
    words_max: usize,
    has_lines: bool,
    verb: impl FnOnce(&Options) -> Result<String, Failure>,
) -> Result<String, Failure> {
    match Options::parse(arguments, words_max, has_lines)? {
        Parsed::Help => Ok(HELP.to_owned()),
        Parsed::Options(options) => verb(&options),
    }
}

fn connect(options: &Options) -> Result<Client, Failure> {
    Client::connect(&options.socket()?)
}

/// A list, as JSON or as one text after the other.
fn shown<T>(
    options: &Options,
    items: &[T],
    none: &str,
    as_text: impl Fn(&T) -> String,
    as_json: impl Fn(&T) -> Value,
) -> String {
    if options.json {
        return text::document(&Value::Array(items.iter().map(as_json).collect()));
    }
    if items.is_empty() { format!("{none}\n") } else { items.iter().map(as_text).collect() }
}

pub(crate) fn status(arguments: &mut Parser) -> Result<String, Failure> {
    ask(arguments, 0, false, |options| {
        let ControlReply::Status(status) = connect(options)?.ask(ControlRequest::Status)? else {
            return Err(Failure::Protocol);
        };
        Ok(if options.json { text::document(&text::status_json(&status)) } else { text::status(&status) })
    })
}

pub(crate) fn log(arguments: &mut Parser) -> Result<String, Failure> {
    ask(arguments, 0, true, |options| {
        let lines = list::log(&mut connect(options)?, options.lines)?;
        Ok(shown(options, &lines, "the log is empty", text::log_line, text::log_json))
    })
}

pub(crate) fn pendrives(arguments: &mut Parser) -> Result<String, Failure> {
    ask(arguments, 0, false, |options| {
        let all = list::pendrives(&mut connect(options)?)?;
        Ok(shown(options, &all, "there are no pendrives", text::pendrive, text::pendrive_json))
    })
}

pub(crate) fn disposables(arguments: &mut Parser) -> Result<String, Failure> {
    ask(arguments, 0, false, |options| {
        let all = list::disposables(&mut connect(options)?)?;
        Ok(shown(options, &all, "there are no DisposableVMs", text::disposable, text::disposable_json))
    })
}

pub(crate) fn questions(arguments: &mut Parser) -> Result<String, Failure> {
    ask(arguments, 0, false, |options| {
        let all = list::questions(&mut connect(options)?)?;
        Ok(shown(options, &all, "no question is open", text::question, text::question_json))
    })
}

pub(crate) fn kill(arguments: &mut Parser) -> Result<String, Failure> {
    ask(arguments, 1, false, |options| {
        let [word] = options.words.as_slice() else {
            return Err(Failure::Usage("kill needs one pendrive".to_owned()));
        };
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !(PREFIX_DIGITS_MIN..=IDENTITY_DIGITS).contains(&word.len()) || !word.bytes().all(is_digit) {
            let right = format!(
                "a pendrive is named by the first {PREFIX_DIGITS_MIN} to {IDENTITY_DIGITS} digits of 0-9 a-f that `pendrives` shows"
            );
            return Err(Failure::Usage(right));
        }
        let mut client = connect(options)?;
        let image = resolve(&mut client, word)?;
        let ControlReply::Kill(outcome) = client.ask(ControlRequest::Kill { image })? else {
            return Err(Failure::Protocol);
        };
        match outcome {
            KillOutcome::Begun | KillOutcome::UnderWay => {}
            KillOutcome::NoSuchPendrive => {
                return Err(Failure::Not(format!("there is no pendrive {image}, perhaps any longer")));
            }
            KillOutcome::NotReady => {
                return Err(Failure::Not("the daemon is just starting: try again".to_owned()));
            }
        }
        until_gone(&mut client, image)?;
        Ok(if options.json {
            text::document(&json!({ "id": image.to_string(), "outcome": "destroyed" }))
        } else {
            format!("pendrive {image} was taken away and destroyed\n")
        })
    })
}

/// The one pendrive whose identity begins with these digits.
fn resolve(client: &mut Client, digits: &str) -> Result<ImageId, Failure> {
    if let Some(image) = ImageId::from_hex(digits) {
        return Ok(image);
    }
    let all = list::pendrives(client)?;
    let mut fitting = all.iter().map(|item| item.image).filter(|image| image.to_string().starts_with(digits));
    match (fitting.next(), fitting.next()) {
        (Some(image), None) => Ok(image),
        (Some(_), Some(_)) => {
            Err(Failure::Not(format!("several pendrives begin with {digits}: give more digits")))
        }
        (None, _) => Err(Failure::Not(format!("no pendrive begins with {digits}"))),
    }
}

fn until_gone(client: &mut Client, image: ImageId) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_millis(KILL_MS_MAX);
    while list::pendrives(client)?.iter().any(|item| item.image == image) {
        if Instant::now() >= deadline {
            let late =
                format!("pendrive {image} is being taken away, which takes long: see `pendrives` and `log`");
            return Err(Failure::Not(late));
        }
        std::thread::sleep(Duration::from_millis(KILL_LOOK_MS));
    }
    Ok(())
}
