//! Which crate uses which, as cargo builds them: `cargo metadata` names more, since it does not tell features that only a
//! build script has from those of the program.

use std::collections::{BTreeMap, BTreeSet};

use crate::Outcome;
use crate::workspace::cargo;

/// A crate: its name and its version.
pub type Key = (String, String);

/// The edges of the whole workspace.
#[derive(Debug, Default)]
pub struct Edges(BTreeMap<Key, BTreeSet<Key>>);

impl Edges {
    /// Asks cargo for edges of these kinds (`cargo tree --edges`).
    pub fn read(kinds: &str, target: &str) -> Outcome<Self> {
        let mut command = cargo();
        command.args([
            "tree",
            "--workspace",
            "--locked",
            "--prefix",
            "depth",
            "--edges",
            kinds,
            "--target",
            target,
        ]);
        let output = command.output().map_err(|error| format!("cargo tree: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Self::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Lines `DEPTHNAME vVERSION …`. What is below a crate is said once, and `(*)` stands for it later.
    fn parse(text: &str) -> Outcome<Self> {
        let mut edges: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
        let mut above: Vec<Key> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let wrong = || format!("cargo tree: {line}");
            let name_at = line.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
            let (depth, rest) = line.split_at(name_at);
            let depth: usize = depth.parse().map_err(|_| wrong())?;
            let mut words = rest.split(' ');
            let (name, version) = words.next().zip(words.next()).ok_or_else(wrong)?;
            let version = version.strip_prefix('v').ok_or_else(wrong)?;
            let key = (name.to_owned(), version.to_owned());
            above.truncate(depth);
            if let Some(user) = above.last() {
                edges.entry(user.clone()).or_default().insert(key.clone());
            }
            edges.entry(key.clone()).or_default();
            above.push(key);
        }
        Ok(Self(edges))
    }

    /// What a crate uses itself.
    pub fn of(&self, key: &Key) -> impl Iterator<Item = &Key> {
        self.0.get(key).into_iter().flatten()
    }

    /// Every crate.
    pub fn crates(&self) -> impl Iterator<Item = &Key> {
        self.0.keys()
    }

    /// The edges of another target as well.
    pub fn add(&mut self, other: Self) {
        for (user, used) in other.0 {
            self.0.entry(user).or_default().extend(used);
        }
    }

    /// The names of the crates that use one of this name.
    pub fn users_of(&self, name: &str) -> BTreeSet<&str> {
        let users = self.0.iter().filter(|(_, used)| used.iter().any(|(used, _)| used == name));
        users.map(|((user, _), _)| user.as_str()).collect()
    }

    /// These and everything that they use.
    pub fn reached(&self, starts: impl IntoIterator<Item = Key>) -> BTreeSet<Key> {
        let mut waiting: Vec<Key> = starts.into_iter().collect();
        let mut seen: BTreeSet<Key> = waiting.iter().cloned().collect();
        while let Some(key) = waiting.pop() {
            for used in self.of(&key) {
                if seen.insert(used.clone()) {
                    waiting.push(used.clone());
                }
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, version: &str) -> Key {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn what_a_crate_uses_is_found_wherever_it_is_said() {
        let text = "0a v1.0.0 (/a)\n1b v2.0.0\n2c2 v3.0.0+x (proc-macro)\n1d v4.0.0\n\n0e v1.0.0 (/e)\n1b v2.0.0 (*)\n";
        let edges = Edges::parse(text).unwrap();
        let of_a: Vec<&Key> = edges.of(&key("a", "1.0.0")).collect();
        assert_eq!(of_a, [&key("b", "2.0.0"), &key("d", "4.0.0")]);
        let reached = edges.reached([key("e", "1.0.0")]);
        assert_eq!(reached, BTreeSet::from([key("e", "1.0.0"), key("b", "2.0.0"), key("c2", "3.0.0+x")]));
        for bad in ["a v1", "0a", "0a 1.0", "12"] {
            assert!(Edges::parse(bad).is_err(), "{bad}");
        }
    }
}
