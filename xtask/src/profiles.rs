//! `cargo xtask profiles-table` and `cargo xtask profile-use`: what the profiles grant, and what of it was used.

mod table;
mod traced;

use std::path::PathBuf;

use lexopt::{Arg, Parser};
use profile_compiler::Compiled;
use profile_compiler::names::Arch;

use crate::{Outcome, next, no_more, workspace};

/// Where the table is.
const TABLE: &str = "docs/profiles.md";
/// Makes `profiles-table` look only.
const CHECK: &str = "check";

/// Writes the table, or with `--check` says whether it is current.
pub fn table(arguments: &mut Parser) -> Outcome<()> {
    let only_check = match next(arguments)? {
        None => false,
        Some(Arg::Long(CHECK)) => true,
        Some(other) => return Err(other.unexpected().to_string()),
    };
    let path = workspace::top().join(TABLE);
    let text = table::text(&all()?);
    if !only_check {
        return std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
    }
    let there = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if there == text {
        Ok(())
    } else {
        Err(format!("{TABLE} is not current: run cargo xtask profiles-table"))
    }
}

/// Says which rules none of these traces of strace used, and is an error if one has no reason to be rare.
pub fn used(arguments: &mut Parser) -> Outcome<()> {
    let mut files = Vec::new();
    while let Some(argument) = next(arguments)? {
        match argument {
            Arg::Value(file) => files.push(PathBuf::from(file)),
            other @ (Arg::Short(_) | Arg::Long(_)) => return Err(other.unexpected().to_string()),
        }
    }
    let own = own_arch()?;
    let all = all()?;
    let (_, profiles) = all.iter().find(|(arch, _)| *arch == own).ok_or("no profiles of this machine")?;
    if files.is_empty() {
        return traced::run(profiles, own);
    }
    no_more(arguments)?;
    traced::report(profiles, own, &files)
}

fn all() -> Outcome<Vec<(Arch, Vec<Compiled>)>> {
    profile_compiler::all(&workspace::top().join("sandbox-profiles"))
}

fn own_arch() -> Outcome<Arch> {
    let own = std::env::consts::ARCH;
    Arch::ALL.into_iter().find(|arch| arch.name() == own).ok_or_else(|| format!("no profiles of {own}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_profiles_is_current() {
        let current = table(&mut Parser::from_args(["--check"]));
        assert_eq!(current, Ok(()));
    }
}
