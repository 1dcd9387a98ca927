//! Conditions on arguments: `arg1 == F_GETFD`, `int2 == SIGABRT`, `arg2 & PROT_EXEC == 0`, `arg1 <= 4096`.
//!
//! `argN` is the whole 64-bit register, `intN` its lower 32 bits. The kernel looks only at the lower half of a parameter
//! that it declares `int` or `unsigned int`, so those are compared with `intN`; every other one with `argN`.

use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition};

use super::names::Arch;

/// One comparison of one argument with a constant.
#[derive(Debug, Clone)]
pub struct Condition {
    /// As it is written in the profile.
    pub text: String,
    /// Which argument, from 0.
    pub argument: u8,
    /// Whether only the lower 32 bits are compared.
    pub is_int: bool,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
}

/// The comparisons that the filter machine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The same number.
    Equal,
    /// Another number.
    NotEqual,
    /// This number or a smaller one.
    AtMost,
    /// This number or a greater one.
    AtLeast,
    /// The bits of this mask are equal to those of the value.
    MaskedEqual(u64),
}

impl Condition {
    /// Understands one condition.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn parse(text: &str, arch: Arch) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let wrong = || format!("condition \"{text}\" is not ARGUMENT [& MASK] OPERATOR VALUE");
        let (argument, comparison, value) = match *words.as_slice() {
            [argument, operator, value] => (argument, plain(operator).ok_or_else(wrong)?, value),
            [argument, "&", mask, "==", value] => {
                (argument, Comparison::MaskedEqual(number(mask, arch)?), value)
            }
            _ => return Err(wrong()),
        };
        let (argument, is_int) = which(argument).ok_or_else(wrong)?;
        let value = number(value, arch)?;
        if let Comparison::MaskedEqual(mask) = comparison
            && value & !mask != 0
        {
            return Err(format!("condition \"{text}\" can never hold: the mask hides bits of the value"));
        }
        Ok(Self { text: text.to_owned(), argument, is_int, comparison, value })
    }

    /// Whether it holds. Says what is meant, independently of the compiler of filters, which is tested against it.
    #[must_use]
    pub fn holds(&self, arguments: &[u64; 6]) -> bool {
        let Some(whole) = arguments.get(usize::from(self.argument)) else { return false };
        let bits = if self.is_int { u64::from(u32::MAX) } else { u64::MAX };
        let (argument, value) = (whole & bits, self.value & bits);
        match self.comparison {
            Comparison::Equal => argument == value,
            Comparison::NotEqual => argument != value,
            Comparison::AtMost => argument <= value,
            Comparison::AtLeast => argument >= value,
            Comparison::MaskedEqual(mask) => argument & mask == value & mask,
        }
    }

    /// The same for the compiler of filters.
    ///
    /// # Errors
    /// That compiler's.
    pub fn compiled(&self) -> Result<SeccompCondition, String> {
        let length = if self.is_int { SeccompCmpArgLen::Dword } else { SeccompCmpArgLen::Qword };
        let operator = match self.comparison {
            Comparison::Equal => SeccompCmpOp::Eq,
            Comparison::NotEqual => SeccompCmpOp::Ne,
            Comparison::AtMost => SeccompCmpOp::Le,
            Comparison::AtLeast => SeccompCmpOp::Ge,
            Comparison::MaskedEqual(mask) => SeccompCmpOp::MaskedEq(mask),
        };
        SeccompCondition::new(self.argument, length, operator, self.value).map_err(|error| error.to_string())
    }
}

fn which(word: &str) -> Option<(u8, bool)> {
    let (digit, is_int) = match word.strip_prefix("arg") {
        Some(digit) => (digit, false),
        None => (word.strip_prefix("int")?, true),
    };
    let index: u8 = digit.parse().ok()?;
    (index <= 5 && digit.len() == 1).then_some((index, is_int))
}

fn plain(operator: &str) -> Option<Comparison> {
    match operator {
        "==" => Some(Comparison::Equal),
        "!=" => Some(Comparison::NotEqual),
        "<=" => Some(Comparison::AtMost),
        ">=" => Some(Comparison::AtLeast),
        _ => None,
    }
}

/// A number in decimal or `0x` hexadecimal, a named constant, or several of these joined by `|`.
fn number(text: &str, arch: Arch) -> Result<u64, String> {
    text.split('|').try_fold(0, |all, part| one_number(part, arch).map(|value| all | value))
}

fn one_number(text: &str, arch: Arch) -> Result<u64, String> {
    let unknown = || format!("{text} is neither a number nor a known constant");
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        return parsed.map_err(|_| unknown());
    }
    arch.constant(text).ok_or_else(unknown)
}
