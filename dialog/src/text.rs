//! What the person sees. Only names that fit the contract, numbers that dom0 knows, and escaped text of the
//! policy reach the screen (L21).

use protocol::dialog::{Notice, Question, QuestionKind};

/// The question itself, from its headline to the prompt.
#[must_use]
pub fn question(question: &Question, more_waiting: usize, remaining_ms: u64) -> String {
    let number = question.id.0;
    let more = if more_waiting == 0 { String::new() } else { format!(" ({more_waiting} more waiting)") };
    let Question { source, target, size_mib, used_mib, .. } = question;
    let matter = match question.kind {
        QuestionKind::Transfer => {
            format!("{source} wants to send its pendrive ({used_mib} of {size_mib} MiB used) to {target}.")
        }
        QuestionKind::WaitForReceiver => format!(
            "{target} still holds an earlier pendrive. Shall the one of {source} ({used_mib} of {size_mib} MiB used) wait for it?"
        ),
    };
    let rule = question.rule.as_str();
    let age = question.age_ms / 1000;
    let seconds = remaining_ms.div_ceil(1000);
    let prompt = prompt(question);
    format!(
        "\nqfilexchgd: question {number}{more}\n  {matter}\n  Asked by: {rule}. Asked {age} s ago. No answer within {seconds} s means no.\n  {prompt}"
    )
}

/// The last line of a question, repeated after a line that was no answer.
#[must_use]
pub fn prompt(question: &Question) -> String {
    let number = question.id.0;
    let aim = match question.kind {
        QuestionKind::Transfer => "to allow it",
        QuestionKind::WaitForReceiver => "to wait",
    };
    format!("Type \"yes {number}\" {aim}; \"no\" or Enter alone refuses: ")
}

/// After an answer.
#[must_use]
pub fn answered(question: &Question, yes: bool) -> String {
    format!("Question {} ({}): {}.\n", question.id.0, route(question), if yes { "yes" } else { "no" })
}

/// After the time was over.
#[must_use]
pub fn expired(question: &Question) -> String {
    format!("\nNobody answered question {} ({}) in time: no.\n", question.id.0, route(question))
}

/// After the broker took the question away.
#[must_use]
pub fn withdrawn(question: &Question) -> String {
    format!("\nThe question about {} was withdrawn: it was settled without an answer.\n", route(question))
}

/// What the person is told without being asked.
#[must_use]
pub fn notice(notice: &Notice) -> String {
    format!("\nqfilexchgd: {}.\n", notice_sentence(notice))
}

/// The same without what is around it, and without a full stop.
#[must_use]
pub fn notice_sentence(notice: &Notice) -> String {
    match notice {
        Notice::Decided { allowed, source, target, rule } => {
            let what = if *allowed { "allowed" } else { "denied" };
            format!("{source} -> {target} was {what} without a question, by {}", rule.as_str())
        }
        Notice::CreationFailed { source, reason } => {
            format!("there is no DisposableVM for {source}: {reason}")
        }
        Notice::TemplateBeingRebuilt => {
            String::from("the template of DisposableVMs is being rebuilt, which takes a while")
        }
    }
}

/// After the end of input.
#[must_use]
pub fn input_ended(question: &Question) -> String {
    format!("\nNothing can be typed here: question {} ({}) is answered no.\n", question.id.0, route(question))
}

/// After a line with the number of another question.
#[must_use]
pub fn other_number(question: &Question) -> String {
    format!("That is not the number of this question, so nothing was answered.\n  {}", prompt(question))
}

/// After a line that was begun before the question was there.
#[must_use]
pub fn begun_earlier(question: &Question) -> String {
    format!("That line was begun before this question, so nothing was answered.\n  {}", prompt(question))
}

/// After a line that means nothing.
#[must_use]
pub fn unclear(question: &Question) -> String {
    format!("  {}", prompt(question))
}

fn route(question: &Question) -> String {
    format!("{} -> {}", question.source, question.target)
}
