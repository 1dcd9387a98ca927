//! What a typed line means.

use protocol::dialog::QuestionId;

/// What a typed line says about the question that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `yes N` with the number of the question.
    Yes,
    /// `no`, or `no N` with the number of the question.
    No,
    /// Nothing but spaces: *no*, unless it came too early to be meant (L14).
    Empty,
    /// `yes N` or `no N` with another number: meant for another question (L13).
    OtherNumber,
    /// Anything else, a `yes` without a number included.
    Unclear,
}

/// Reads a line without its line end. Only `yes` followed by the very number is a *yes*.
#[must_use]
pub fn parse(line: &[u8], shown: QuestionId) -> Answer {
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | b'\r')).filter(|word| !word.is_empty());
    let (first, second, third) = (words.next(), words.next(), words.next());
    match (first, second, third) {
        (None, _, _) => Answer::Empty,
        (Some(b"no"), None, _) => Answer::No,
        (Some(b"yes"), Some(number), None) => numbered(number, shown, Answer::Yes),
        (Some(b"no"), Some(number), None) => numbered(number, shown, Answer::No),
        (Some(_), _, _) => Answer::Unclear,
    }
}

fn numbered(word: &[u8], shown: QuestionId, meant: Answer) -> Answer {
    if word == shown.0.to_string().as_bytes() {
        meant
    } else if word.iter().all(u8::is_ascii_digit) {
        Answer::OtherNumber
    } else {
        Answer::Unclear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: QuestionId = QuestionId(12);

    #[test]
    fn only_yes_with_the_number_shown_is_a_yes() {
        for line in ["yes 12", " yes 12 ", "yes\t12\r"] {
            assert_eq!(parse(line.as_bytes(), SHOWN), Answer::Yes, "{line:?}");
        }
        for line in
            ["yes", "y", "y 12", "YES 12", "yes 12 please", "yes12", "yes +12", "yes 12\0", "12", "\u{1b}"]
        {
            assert_eq!(parse(line.as_bytes(), SHOWN), Answer::Unclear, "{line:?}");
        }
    }

    #[test]
    fn l13_a_number_of_another_question_answers_nothing() {
        for line in ["yes 1", "yes 120", "yes 012", "no 11", "yes 99999999999999999999999999"] {
            assert_eq!(parse(line.as_bytes(), SHOWN), Answer::OtherNumber, "{line:?}");
        }
    }

    #[test]
    fn no_needs_no_number() {
        for line in ["no", "no 12", "\tno"] {
            assert_eq!(parse(line.as_bytes(), SHOWN), Answer::No, "{line:?}");
        }
        for line in ["", " ", "\r", "\t \t"] {
            assert_eq!(parse(line.as_bytes(), SHOWN), Answer::Empty, "{line:?}");
        }
    }
}
