//! `answer`: the person answers a question, here instead of at the dialog.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{IsTerminal, Write};
use std::path::Path;

use lexopt::Parser;
use protocol::control::{AnswerOutcome, ControlReply, ControlRequest};
use protocol::dialog::{Question, QuestionId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{QueueSelector, tcflush};
use serde_json::json;

use crate::client::Client;
use crate::options::{Options, Parsed};
use crate::{Failure, HELP, list, text};

/// How often the daemon is asked for new questions, in seconds.
const LOOK_S: i64 = 1;
/// Longest line that can be an answer, in bytes.
const LINE_BYTES_MAX: usize = 80;

pub(crate) fn answer(arguments: &mut Parser) -> Result<String, Failure> {
    let options = match Options::parse(arguments, 2, false)? {
        Parsed::Help => return Ok(HELP.to_owned()),
        Parsed::Options(options) => options,
    };
    match options.words.as_slice() {
        [id, word] => {
            let id = id.parse().map(QuestionId);
            let yes = match word.as_str() {
                "yes" => Some(true),
                "no" => Some(false),
                _ => None,
            };
            let (Ok(id), Some(yes)) = (id, yes) else {
                return Err(Failure::Usage(
                    "answer takes the number of a question, and yes or no".to_owned(),
                ));
            };
            once(&options, id, yes)
        }
        [] if options.json => Err(Failure::Usage("answer without a question shows no JSON".to_owned())),
        [] if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() => {
            Err(Failure::Usage("answer without a question needs a terminal".to_owned()))
        }
        [] => converse(&options.socket()?),
        _ => Err(Failure::Usage("answer takes the number of a question, and yes or no".to_owned())),
    }
}

fn once(options: &Options, id: QuestionId, yes: bool) -> Result<String, Failure> {
    tell(&mut Client::connect(&options.socket()?)?, id, yes)?;
    let word = if yes { "yes" } else { "no" };
    Ok(if options.json {
        text::document(&json!({ "id": id.0, "answer": word, "outcome": "taken" }))
    } else {
        format!("question {} is answered: {word}\n", id.0)
    })
}

/// Answers a question, if it is still open (L13).
fn tell(client: &mut Client, id: QuestionId, yes: bool) -> Result<(), Failure> {
    let ControlReply::Answer(outcome) = client.ask(ControlRequest::Answer { id, yes })? else {
        return Err(Failure::Protocol);
    };
    match outcome {
        AnswerOutcome::Taken => Ok(()),
        AnswerOutcome::NotOpen => Err(Failure::Not(format!(
            "question {} is not open: it was answered, its time was over, or there never was one",
            id.0
        ))),
    }
}

/// Shows questions as they come and takes answers, until the input ends.
fn converse(socket: &Path) -> Result<String, Failure> {
    let mut shown: BTreeMap<QuestionId, Question> = BTreeMap::new();
    let mut begun = Vec::new();
    print(
        "Questions are shown here as they come. Answer with \"yes NUMBER\" or \"no NUMBER\"; Ctrl-D ends.\n",
    )?;
    loop {
        let open = list::questions(&mut Client::connect(socket)?)?;
        if show(&mut shown, open)? {
            // What was typed before a question is no answer to it (L13).
            let _ = tcflush(rustix::stdio::stdin(), QueueSelector::IFlush);
            begun.clear();
        }
        let mut fds = [PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec { tv_sec: LOOK_S, tv_nsec: 0 })) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(Failure::Output(errno.into())),
        }
        let mut bytes = [0; LINE_BYTES_MAX];
        let count = match rustix::io::read(rustix::stdio::stdin(), &mut bytes) {
            Ok(0) => return Ok(String::new()),
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(errno) => return Err(Failure::Output(errno.into())),
        };
        for byte in bytes.get(..count).unwrap_or_default() {
            if *byte == b'\n' {
                obey(socket, &shown, &std::mem::take(&mut begun))?;
            } else if begun.len() < LINE_BYTES_MAX {
                begun.push(*byte);
            }
        }
    }
}

/// Shows what is new, and says what was settled. Whether anything was new.
fn show(shown: &mut BTreeMap<QuestionId, Question>, open: Vec<Question>) -> Result<bool, Failure> {
    let settled: Vec<QuestionId> =
        shown.keys().filter(|id| !open.iter().any(|question| question.id == **id)).copied().collect();
    for id in settled {
        shown.remove(&id);
        print(&format!("question {} is settled.\n", id.0))?;
    }
    let mut is_new = false;
    for question in open {
        if let Entry::Vacant(place) = shown.entry(question.id) {
            is_new = true;
            print(&format!("\n{}", text::question(&question)))?;
            place.insert(question);
        }
    }
    Ok(is_new)
}

/// What a typed line means. Only a whole `yes` or `no` with the number of a question that is shown is an answer.
fn meant(
    line: &[u8],
    shown: &BTreeMap<QuestionId, Question>,
) -> Result<Option<(QuestionId, bool)>, &'static str> {
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | b'\r')).filter(|word| !word.is_empty());
    let yes = match words.next() {
        None => return Ok(None),
        Some(b"yes") => true,
        Some(b"no") => false,
        Some(_) => return Err("An answer is \"yes NUMBER\" or \"no NUMBER\".\n"),
    };
    let (Some(number), None) = (words.next(), words.next()) else {
        return Err("An answer names the number of its question.\n");
    };
    let known = shown.keys().find(|id| id.0.to_string().as_bytes() == number);
    known.map(|id| Some((*id, yes))).ok_or("No question of that number is open, so nothing was answered.\n")
}

fn obey(socket: &Path, shown: &BTreeMap<QuestionId, Question>, line: &[u8]) -> Result<(), Failure> {
    match meant(line, shown) {
        Ok(None) => Ok(()),
        Err(why_not) => print(why_not),
        Ok(Some((id, yes))) => match tell(&mut Client::connect(socket)?, id, yes) {
            Ok(()) => print(&format!("question {} is answered: {}\n", id.0, if yes { "yes" } else { "no" })),
            Err(Failure::Not(text)) => print(&format!("{text}\n")),
            Err(other) => Err(other),
        },
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

#[cfg(test)]
mod tests {
    use protocol::dialog::{QuestionKind, Recipient};
    use protocol::log::LogText;
    use protocol::types::VmName;

    use super::*;

    fn shown(ids: &[u64]) -> BTreeMap<QuestionId, Question> {
        let question = |id: u64| Question {
            id: QuestionId(id),
            kind: QuestionKind::Transfer,
            source: VmName::new(b"work").unwrap(),
            target: Recipient::NewDisposable,
            size_mib: 64,
            used_mib: 3,
            age_ms: 0,
            rule: LogText::new("default"),
            expires_ms: 1,
        };
        ids.iter().map(|id| (QuestionId(*id), question(*id))).collect()
    }

    #[test]
    fn l13_only_the_number_of_a_question_that_is_shown_answers() {
        let shown = shown(&[12, 13]);
        assert_eq!(meant(b"yes 12", &shown), Ok(Some((QuestionId(12), true))));
        assert_eq!(meant(b"\tno 13\r", &shown), Ok(Some((QuestionId(13), false))));
        for line in [
            "yes",
            "no",
            "yes 1",
            "yes 012",
            "yes +12",
            "yes 12 13",
            "y 12",
            "YES 12",
            "12",
            "yes12",
            "\u{1b}",
        ] {
            assert!(meant(line.as_bytes(), &shown).is_err(), "{line:?}");
        }
    }

    #[test]
    fn l14_enter_alone_answers_nothing() {
        for line in ["", " ", "\t\r"] {
            assert_eq!(meant(line.as_bytes(), &shown(&[1])), Ok(None));
        }
    }
}
