//! The list of what the packages hold, `packaging/contents`: read once, used for every kind of package.

use std::path::PathBuf;

use crate::Outcome;
use crate::workspace;

/// Where the workers are, in dom0 and in a VM (`PROGRAMS_DIRECTORY` of supervisor and vm-tools).
pub const WORKERS: &str = "/usr/lib/qfilexchgd";

/// One of the two packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// For the host.
    Dom0,
    /// For the VMs.
    Vm,
}

impl Package {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Dom0, Self::Vm];

    /// The name that a package manager knows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dom0 => "qfilexchg-dom0",
            Self::Vm => "qfilexchg-vm",
        }
    }

    /// The last part of its name: so its own files in packaging/debian are called.
    pub fn short(self) -> &'static str {
        match self {
            Self::Dom0 => "dom0",
            Self::Vm => "vm",
        }
    }
}

/// Which packages hold a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    One(Package),
    Both,
    None,
}

/// What a line of the list speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A program for people, in this folder.
    Program { name: String, folder: String },
    /// A program that the others start, and the manual that describes it.
    Worker { name: String, manual: String },
    /// A manual page, by its file name.
    Manual(String),
    /// A file below packaging/, and its place.
    File { source: String, to: String, is_config: bool },
}

/// The whole list.
#[derive(Debug, Default)]
pub struct List {
    lines: Vec<(Owner, Thing)>,
    /// Programs and files that no package holds, each with a reason.
    pub left_out: Vec<(String, String)>,
}

impl List {
    /// Reads the list of this workspace.
    pub fn read() -> Outcome<Self> {
        let path = packaging("contents");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| format!("{}:{error}", path.display()))
    }

    /// Reads the text of a list; an error begins with the number of its line.
    fn parse(text: &str) -> Outcome<Self> {
        let mut list = Self::default();
        for (number, line) in (1_usize..).zip(text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.first().is_none_or(|word| word.starts_with('#')) {
                continue;
            }
            list.add(&words).map_err(|error| format!("{number}: {error}"))?;
        }
        Ok(list)
    }

    fn add(&mut self, words: &[&str]) -> Outcome<()> {
        let owner = match words.first().copied().unwrap_or_default() {
            "dom0" => Owner::One(Package::Dom0),
            "vm" => Owner::One(Package::Vm),
            "both" => Owner::Both,
            "none" => Owner::None,
            other => return Err(format!("{other} is no package: dom0, vm, both or none")),
        };
        let thing = match (owner, words.get(1..).unwrap_or_default()) {
            (Owner::None, ["program" | "file", name, reason @ ..]) if !reason.is_empty() => {
                self.left_out.push(((*name).to_owned(), reason.join(" ")));
                return Ok(());
            }
            (Owner::None, _) => {
                return Err("none is followed by program or file, a name and a reason".to_owned());
            }
            (_, ["program", name, folder]) if folder.ends_with('/') => {
                Thing::Program { name: (*name).to_owned(), folder: (*folder).to_owned() }
            }
            (_, ["worker", name, manual]) => {
                Thing::Worker { name: (*name).to_owned(), manual: (*manual).to_owned() }
            }
            (_, ["manual", page]) => Thing::Manual((*page).to_owned()),
            (_, [kind @ ("config" | "file"), source, to]) => {
                let own_name = source.rsplit('/').next().unwrap_or_default();
                let to = if to.ends_with('/') { format!("{to}{own_name}") } else { (*to).to_owned() };
                Thing::File { source: (*source).to_owned(), to, is_config: *kind == "config" }
            }
            _ => return Err("not what the head of this file describes".to_owned()),
        };
        self.lines.push((owner, thing));
        Ok(())
    }

    /// What a package holds, in the order of the list.
    pub fn of(&self, package: Package) -> impl Iterator<Item = &Thing> {
        self.lines.iter().filter_map(move |(owner, thing)| match owner {
            Owner::One(one) => (*one == package).then_some(thing),
            Owner::Both => Some(thing),
            Owner::None => None,
        })
    }

    /// Says which of these programs the list forgets: each must be in a package, or be left out for a reason.
    pub fn forgotten<'a>(&self, programs: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let is_known = |program: &&str| {
            let mut shipped = Package::ALL.into_iter().flat_map(|package| self.programs(package));
            shipped.any(|one| one == *program) || self.left_out.iter().any(|(name, _)| name == *program)
        };
        programs.into_iter().filter(|program| !is_known(program)).collect()
    }

    /// The programs of a package, workers included.
    pub fn programs(&self, package: Package) -> impl Iterator<Item = &str> {
        self.of(package).filter_map(|thing| match thing {
            Thing::Program { name, .. } | Thing::Worker { name, .. } => Some(name.as_str()),
            Thing::Manual(_) | Thing::File { .. } => None,
        })
    }
}

/// A file or folder below packaging/.
pub fn packaging(name: &str) -> PathBuf {
    workspace::top().join("packaging").join(name)
}

/// The manual of a program: `NAME.1`, or `NAME.8`, whichever exists.
pub fn manual_of(program: &str) -> Outcome<String> {
    let pages = ["1", "8"].map(|section| format!("{program}.{section}"));
    pages.into_iter().find(|page| packaging("man").join(page).is_file()).ok_or_else(|| {
        format!("{program} has no manual: write packaging/man/{program}.1 or packaging/man/{program}.8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_says_nothing_clear_is_refused_with_its_number() {
        for line in [
            "dom1 program a /usr/bin/",
            "dom0",
            "dom0 program a",
            "dom0 program a /usr/bin",
            "dom0 gadget a b",
            "dom0 file a",
            "none program a",
            "none worker a because",
        ] {
            let error = List::parse(&format!("# a list\n\n{line}\n")).unwrap_err();
            assert!(error.starts_with("3: "), "{line}: {error}");
        }
    }

    #[test]
    fn what_both_hold_is_in_each_and_what_none_holds_in_neither() {
        let text =
            "dom0 program a /usr/bin/\nvm worker b c.8\nboth config d/e /etc/\nnone program x of no use\n";
        let list = List::parse(text).unwrap();
        let file = Thing::File { source: "d/e".to_owned(), to: "/etc/e".to_owned(), is_config: true };
        let program = Thing::Program { name: "a".to_owned(), folder: "/usr/bin/".to_owned() };
        let worker = Thing::Worker { name: "b".to_owned(), manual: "c.8".to_owned() };
        assert_eq!(list.of(Package::Dom0).collect::<Vec<_>>(), [&program, &file]);
        assert_eq!(list.of(Package::Vm).collect::<Vec<_>>(), [&worker, &file]);
        assert_eq!(list.left_out, [("x".to_owned(), "of no use".to_owned())]);
    }
}
