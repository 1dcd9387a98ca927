//! Bytes from the terminal, cut into lines of bounded length.

/// Longest line that can be an answer, in bytes without its line end.
pub const LINE_BYTES_MAX: usize = 80;

/// A line that the person ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A line that was begun after the question was shown.
    Whole(Vec<u8>),
    /// Longer than [`LINE_BYTES_MAX`].
    TooLong,
    /// Begun before the question was shown (L13).
    BegunEarlier,
}

/// The line that has been begun, and whether it may count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    begun: Vec<u8>,
    too_long: bool,
    begun_earlier: bool,
}

impl Lines {
    /// Forgets the bytes of a line that was begun: a new question is shown now, and the rest of that line, up to
    /// its end, does not count either. `mid_line` says that bytes of such a line were dropped elsewhere.
    pub fn restart(&mut self, mid_line: bool) {
        self.begun_earlier |= mid_line || self.too_long || !self.begun.is_empty();
        self.begun.clear();
        self.too_long = false;
    }

    /// Takes one byte; gives the line that it ends.
    pub fn push(&mut self, byte: u8) -> Option<Line> {
        if byte != b'\n' {
            if self.begun.len() >= LINE_BYTES_MAX {
                self.too_long = true;
            } else {
                self.begun.push(byte);
            }
            return None;
        }
        let bytes = std::mem::take(&mut self.begun);
        let too_long = std::mem::take(&mut self.too_long);
        if std::mem::take(&mut self.begun_earlier) {
            Some(Line::BegunEarlier)
        } else if too_long {
            Some(Line::TooLong)
        } else {
            Some(Line::Whole(bytes))
        }
    }
}

/// Whether dropped bytes leave a line without its end.
#[must_use]
pub fn ends_mid_line(dropped: &[u8]) -> bool {
    dropped.last().is_some_and(|&byte| byte != b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(lines: &mut Lines, bytes: &[u8]) -> Vec<Line> {
        bytes.iter().filter_map(|&byte| lines.push(byte)).collect()
    }

    #[test]
    fn l19_lines_of_0_1_80_and_81_bytes_are_bounded() {
        for (length, fits) in
            [(0, true), (1, true), (LINE_BYTES_MAX, true), (LINE_BYTES_MAX + 1, false), (9000, false)]
        {
            let mut bytes = vec![b'a'; length];
            let expected = if fits { Line::Whole(bytes.clone()) } else { Line::TooLong };
            bytes.push(b'\n');
            let mut lines = Lines::default();
            assert_eq!(feed(&mut lines, &bytes), [expected], "{length}");
            assert_eq!(lines, Lines::default());
        }
    }

    #[test]
    fn l13_a_line_that_was_begun_before_the_restart_does_not_count() {
        let mut lines = Lines::default();
        assert_eq!(feed(&mut lines, b"ye"), []);
        lines.restart(false);
        assert_eq!(feed(&mut lines, b"yes 1\nyes 2\n"), [Line::BegunEarlier, Line::Whole(b"yes 2".to_vec())]);
        lines.restart(true);
        assert_eq!(feed(&mut lines, b"yes 1\n"), [Line::BegunEarlier]);
        assert_eq!(feed(&mut lines, &[b'x'; LINE_BYTES_MAX + 1]), []);
        lines.restart(false);
        lines.restart(false);
        assert_eq!(feed(&mut lines, b"\n\n"), [Line::BegunEarlier, Line::Whole(Vec::new())]);
    }

    #[test]
    fn a_dropped_piece_leaves_a_line_open_unless_it_ends_one() {
        assert!(!ends_mid_line(b""));
        assert!(!ends_mid_line(b"yes 1\n"));
        assert!(ends_mid_line(b"\ny"));
    }
}
