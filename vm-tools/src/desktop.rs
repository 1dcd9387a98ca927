//! What a person with a desktop uses: windows by the programs that the desktop has (kdialog, zenity), notifications by
//! notify-send. No toolkit is linked, no shell is used.
//!
//! ```text
//! toolkit.rs  which program, and its few windows
//! recent.rs   the VMs that were sent to last
//! run.rs      a tool with a progress window beside it
//! send.rs     qvm-send-dialog
//! arrival.rs  telling the desktop that something has arrived
//! notice.rs   arrival-notice, which does so
//! ```

pub mod arrival;
pub mod notice;
mod recent;
mod run;
pub mod send;
mod toolkit;

/// Longest text in a window or notification, in characters.
const TEXT_CHARS_MAX: usize = 500;

/// Text that no toolkit takes for markup, escapes or mnemonics, of at most [`TEXT_CHARS_MAX`] characters.
///
/// Which of them interpret what depends on the program and its version, so the characters that could mean something are
/// replaced by others of the same look instead of being escaped.
fn unmarked(text: &str) -> String {
    let replaced = |character| match character {
        '<' => '\u{2039}',
        '>' => '\u{203a}',
        '&' => '\u{ff06}',
        '\\' => '\u{2216}',
        other if other.is_control() => ' ',
        other => other,
    };
    text.chars().take(TEXT_CHARS_MAX).map(replaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l7_nothing_in_a_text_is_markup() {
        let text = unmarked("<b>a</b> &amp; \\n <a href=\"x\">\n\u{1b}[2J");
        assert!(!text.contains(['<', '>', '&', '\\', '\n', '\u{1b}']), "{text}");
        assert_eq!(unmarked("Grüße, 5 %"), "Grüße, 5 %");
    }

    #[test]
    fn l19_texts_of_0_1_500_and_501_characters() {
        for count in [0, 1, TEXT_CHARS_MAX, TEXT_CHARS_MAX + 1] {
            assert_eq!(unmarked(&"ü".repeat(count)).chars().count(), count.min(TEXT_CHARS_MAX));
        }
    }
}
