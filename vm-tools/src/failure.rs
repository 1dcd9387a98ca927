//! Why a tool cannot go on: one line for the person, one exit code for a script (L23).

use protocol::reply::Code;

use crate::exit;
use crate::shown::Line;

/// Why a tool ends without success. Its text is one line, and holds nothing raw.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The command line is wrong.
    #[error("{0} (--help says how)")]
    Usage(Line),
    /// A step in this VM failed.
    #[error("{0}")]
    Failed(Line),
    /// The files cannot go onto a pendrive; nothing was asked of dom0.
    #[error("{0}")]
    Refused(Line),
    /// Something of this VM is in the way.
    #[error("{0}")]
    Busy(Line),
    /// dom0 answered, and the answer is no success.
    #[error("{what}: {}: {detail}", code.word())]
    Reply {
        /// What was asked.
        what: &'static str,
        /// The answer.
        code: Code,
        /// dom0's reason.
        detail: Line,
    },
    /// dom0 did not answer.
    #[error("{0}")]
    NoAnswer(Line),
    /// The person ended the tool.
    #[error("{0}")]
    Interrupted(Line),
}

impl Failure {
    /// A step in this VM failed.
    #[must_use]
    pub fn failed(text: &str) -> Self {
        Self::Failed(Line::new(text))
    }

    /// The command line is wrong.
    #[must_use]
    pub fn usage(text: &str) -> Self {
        Self::Usage(Line::new(text))
    }

    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => exit::USAGE,
            Self::Failed(_) => exit::FAILED,
            Self::Refused(_) => exit::REFUSED,
            Self::Busy(_) => exit::BUSY,
            Self::Reply { code, .. } => of_code(*code),
            Self::NoAnswer(_) => exit::NO_ANSWER,
            Self::Interrupted(_) => exit::INTERRUPTED,
        }
    }

    /// The same failure with one more remark at its end.
    #[must_use]
    pub fn with_remark(self, remark: &str) -> Self {
        let add = |line: &Line| Line::new(&format!("{line}; {remark}"));
        match self {
            Self::Usage(line) => Self::Usage(add(&line)),
            Self::Failed(line) => Self::Failed(add(&line)),
            Self::Refused(line) => Self::Refused(add(&line)),
            Self::Busy(line) => Self::Busy(add(&line)),
            Self::Reply { what, code, detail } => Self::Reply { what, code, detail: add(&detail) },
            Self::NoAnswer(line) => Self::NoAnswer(add(&line)),
            Self::Interrupted(line) => Self::Interrupted(add(&line)),
        }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::usage(&error.to_string())
    }
}

fn of_code(code: Code) -> u8 {
    match code {
        Code::Ok => exit::DONE,
        Code::Denied => exit::DENIED,
        Code::Busy => exit::BUSY,
        Code::Unknown => exit::UNKNOWN_VM,
        // A pending that nothing follows is no answer; the session does not end with one.
        Code::Pending => exit::NO_ANSWER,
        Code::Invalid | Code::Failed => exit::FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_final_code_has_its_exit_code() {
        let codes = Code::ALL.map(of_code);
        assert_eq!(codes, [exit::DONE, exit::NO_ANSWER, exit::DENIED, exit::BUSY, exit::UNKNOWN_VM, 1, 1]);
    }

    #[test]
    fn l23_a_failure_is_one_line_whatever_is_in_it() {
        let failure = Failure::failed("a\nb\u{1b}[2J\r\u{202e}c").with_remark("d\n");
        let text = failure.to_string();
        assert!(!text.chars().any(|character| character.is_control() || character == '\u{202e}'), "{text:?}");
        let reply = Failure::Reply {
            what: "send",
            code: Code::Denied,
            detail: Line::new("the person in dom0 said no"),
        };
        assert_eq!(reply.to_string(), "send: denied: the person in dom0 said no");
        assert_eq!(reply.exit_code(), exit::DENIED);
    }
}
