//! Licence expressions (SPDX specification 2.3, annex D), as far as crates use them.

use std::collections::BTreeSet;

use crate::Outcome;

/// Whether an expression leaves a choice in which every licence is one of `allowed`. Cargo's old `A/B` is `A OR B`.
///
/// # Errors
/// It is no expression.
pub fn is_satisfied(expression: &str, allowed: &BTreeSet<String>) -> Outcome<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed };
    let satisfied = parser.any()?;
    if parser.words.is_empty() { Ok(satisfied) } else { Err(format!("{expression}: no licence expression")) }
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<String>,
}

impl Parser<'_> {
    fn takes(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            Some(_) | None => false,
        }
    }

    fn any(&mut self) -> Outcome<bool> {
        let mut satisfied = self.all()?;
        while self.takes("OR") {
            satisfied |= self.all()?;
        }
        Ok(satisfied)
    }

    fn all(&mut self) -> Outcome<bool> {
        let mut satisfied = self.one()?;
        while self.takes("AND") {
            satisfied &= self.one()?;
        }
        Ok(satisfied)
    }

    fn one(&mut self) -> Outcome<bool> {
        if self.takes("(") {
            let satisfied = self.any()?;
            return if self.takes(")") { Ok(satisfied) } else { Err("a ( without )".to_owned()) };
        }
        let (licence, rest) = self.words.split_first().ok_or("a licence is missing")?;
        if ["AND", "OR", "WITH", ")"].contains(licence) {
            return Err(format!("{licence} where a licence is expected"));
        }
        self.words = rest;
        if self.takes("WITH") {
            let (exception, rest) = self.words.split_first().ok_or("an exception is missing")?;
            self.words = rest;
            return Ok(self.allowed.contains(&format!("{licence} WITH {exception}")));
        }
        Ok(self.allowed.contains(*licence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_satisfied_by_one_and_a_sum_by_all() {
        let allowed: BTreeSet<String> =
            ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-2.0-only", false),
            ("Apache-2.0 OR MIT", true),
            ("Apache-2.0/MIT", true),
            ("MIT AND Apache-2.0", false),
            ("MIT AND Zlib", true),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0", true),
            ("Apache-2.0 WITH Other-exception", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
            ("(Unicode-3.0 OR Zlib) AND (MIT OR Apache-2.0)", true),
            ("Apache-2.0 OR MIT AND Unicode-3.0", false),
        ] {
            assert_eq!(is_satisfied(expression, &allowed), Ok(expected), "{expression}");
        }
        for bad in ["", "MIT OR", "(MIT", "MIT)", "MIT Zlib", "AND MIT", "MIT WITH"] {
            assert!(is_satisfied(bad, &allowed).is_err(), "{bad}");
        }
    }
}
