//! Arguments that are worth trying on a filter: for each condition those that meet it, and those just beside.

use super::condition::{Comparison, Condition};
use super::format::Grant;

/// What stands in arguments that no condition looks at. All are wrong as descriptors, addresses and sizes alike; the
/// greatest are so only for a filter, since some calls take -1 for "all".
const FILLINGS: [u64; 6] = [0x7FFF_FFF0, 0, 1, 0xFFFF_FFFF, 0x1_0000_0000, u64::MAX];

/// Arguments that one grant permits and that the kernel then refuses by itself, where it can: what they name does not
/// exist.
///
/// `None`: its conditions contradict each other.
#[must_use]
pub fn permitted(grant: &Grant) -> Option<[u64; 6]> {
    meeting(&grant.conditions, FILLINGS.first().copied().unwrap_or_default())
}

/// Arguments to try for one system call, given every grant of it.
#[must_use]
pub fn around(grants: &[&Grant]) -> Vec<[u64; 6]> {
    let mut cases: Vec<[u64; 6]> = FILLINGS.iter().map(|filling| [*filling; 6]).collect();
    for grant in grants {
        for base in FILLINGS.iter().filter_map(|filling| meeting(&grant.conditions, *filling)) {
            cases.push(base);
            for (index, value) in grants.iter().flat_map(|other| &other.conditions).flat_map(beside) {
                let mut case = base;
                if let Some(place) = case.get_mut(usize::from(index)) {
                    *place = value;
                }
                cases.push(case);
            }
        }
    }
    cases.sort_unstable();
    cases.dedup();
    cases
}

/// Arguments that meet all conditions.
fn meeting(conditions: &[Condition], filling: u64) -> Option<[u64; 6]> {
    let mut arguments = [filling; 6];
    for condition in conditions {
        let place = arguments.get_mut(usize::from(condition.argument))?;
        *place = met(condition, *place);
    }
    conditions.iter().all(|condition| condition.holds(&arguments)).then_some(arguments)
}

/// The nearest value that meets one condition.
fn met(condition: &Condition, value: u64) -> u64 {
    let wanted = condition.value;
    match condition.comparison {
        Comparison::Equal => wanted,
        Comparison::NotEqual if value & 0xFFFF_FFFF == wanted & 0xFFFF_FFFF => value ^ 2,
        Comparison::NotEqual => value,
        Comparison::AtMost => value.min(wanted),
        Comparison::AtLeast => value.max(wanted),
        Comparison::MaskedEqual(mask) => (value & !mask) | wanted,
    }
}

/// Values of a condition's argument that differ from the one it names by a little: by one, by one bit, in the upper half.
fn beside(condition: &Condition) -> Vec<(u8, u64)> {
    let value = condition.value;
    let mut values = vec![value, value.wrapping_add(1), value.wrapping_sub(1), !value];
    values.extend((0..u64::BITS).map(|bit| value ^ (1 << bit)));
    values.extend(FILLINGS);
    if let Comparison::MaskedEqual(mask) = condition.comparison {
        values.extend([mask, !mask, !mask | value]);
    }
    values.into_iter().map(|value| (condition.argument, value)).collect()
}
