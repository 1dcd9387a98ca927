//! The words of a notification. Of what a VM chose, only a name that fits the contract is among them (L21).

use dialog::text::notice_sentence;
use protocol::notify::Notice;

/// Longest sentence in bytes, before it is escaped as markup. Names and a line of the policy fit.
pub const SENTENCE_BYTES_MAX: usize = 700;
/// Longest body in bytes: each byte of a sentence may become `&amp;`.
pub const BODY_BYTES_MAX: usize = SENTENCE_BYTES_MAX * "&amp;".len();

/// The headline, which is plain text.
#[must_use]
pub fn summary(notice: &Notice) -> &'static str {
    match notice {
        Notice::Decided { allowed: true, .. } => "Pendrive allowed",
        Notice::Decided { allowed: false, .. } => "Pendrive denied",
        Notice::CreationFailed { .. } => "No DisposableVM",
        Notice::TemplateBeingRebuilt => "DisposableVM template",
    }
}

/// What is below it, which is markup.
#[must_use]
pub fn body(notice: &Notice) -> String {
    markup(&notice_sentence(notice))
}

/// Makes markup of plain text: printable ASCII stays, the characters that mean something there are replaced, and all else
/// is left out.
fn markup(text: &str) -> String {
    let mut out = String::new();
    let printable = |character: &char| *character == ' ' || character.is_ascii_graphic();
    for character in text.chars().filter(printable).take(SENTENCE_BYTES_MAX) {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::dialog::Recipient;
    use protocol::log::{LOG_TEXT_BYTES_MAX, LogText};
    use protocol::types::VmName;

    fn decided(name: &str, rule: &str) -> Notice {
        let source = VmName::new(name.as_bytes()).unwrap();
        let target = Recipient::Vm(source.clone());
        Notice::Decided { allowed: true, source, target, rule: LogText::new(rule) }
    }

    #[test]
    fn l21_markup_in_a_line_of_the_policy_is_shown_as_it_is() {
        let body = body(&decided("work", "<b>&x\u{1b}:3"));
        assert_eq!(body, "work -&gt; work was allowed without a question, by &lt;b&gt;&amp;x\\u{1b}:3");
    }

    #[test]
    fn l19_the_longest_notice_fits_and_anything_longer_is_cut() {
        let longest = decided(&"n".repeat(63), &"&".repeat(LOG_TEXT_BYTES_MAX));
        assert!(body(&longest).ends_with(&"&amp;".repeat(LOG_TEXT_BYTES_MAX)));
        for (length, shown) in [
            (0, 0),
            (1, 1),
            (SENTENCE_BYTES_MAX, SENTENCE_BYTES_MAX),
            (SENTENCE_BYTES_MAX + 1, SENTENCE_BYTES_MAX),
        ] {
            let text = markup(&"&".repeat(length));
            assert_eq!(text.len(), shown * 5);
            assert!(text.len() <= BODY_BYTES_MAX);
        }
        assert_eq!(markup("a\u{1b}\n\u{202e}\u{e9}b"), "ab");
    }
}
