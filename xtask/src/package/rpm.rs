//! The tree that an RPM is built from: both packages in one folder, and a list of files for each, as `%files -f`
//! reads it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::collect::{ZSH_FUNCTIONS_DEB, ZSH_FUNCTIONS_RPM};
use super::list::{Package, WORKERS};
use super::tree::{MODE_FOLDER, Tree};
use crate::Outcome;

/// Folders that are ours, so that the package has them; others belong to the system.
const OWN_FOLDERS: [&str; 4] = ["/etc/qfilexchgd", "/etc/qfilexchg", "/usr/share/qfilexchg", WORKERS];

/// Moves what Fedora has elsewhere, and leaves out what is Debian's.
pub fn moved(tree: &Tree) -> Outcome<Tree> {
    let mut moved = Tree::default();
    for (path, item) in &tree.items {
        if path.starts_with("/usr/share/lintian/") || path.ends_with("/changelog.Debian.gz") {
            continue;
        }
        moved.add(&path.replace(ZSH_FUNCTIONS_DEB, ZSH_FUNCTIONS_RPM), item.clone())?;
    }
    Ok(moved)
}

/// Writes the tree below `root`, and its list as `lists/PACKAGE.files`.
pub fn write(tree: &Tree, package: Package, epoch_s: u64, root: &Path, lists: &Path) -> Outcome<()> {
    let failed = |error: std::io::Error| format!("{}: {error}", lists.display());
    // In a folder of its own first: a link cannot be written twice, and both packages have the overview.
    let own = tempfile::tempdir_in(lists).map_err(failed)?;
    tree.write(own.path(), epoch_s)?;
    fs::create_dir_all(root).map_err(failed)?;
    let mut copy = std::process::Command::new("cp");
    copy.args(["-a", "--no-preserve=ownership"]).arg(own.path().join(".")).arg(root);
    crate::run::succeed(&mut copy, "cp")?;
    fs::write(lists.join(format!("{}.files", package.name())), list(tree)).map_err(failed)
}

/// The lines of `%files`.
fn list(tree: &Tree) -> String {
    let mut text = String::new();
    let mut folders = BTreeSet::new();
    for (path, item) in &tree.items {
        for folder in Path::new(path).ancestors().skip(1).filter_map(Path::to_str) {
            let is_own = OWN_FOLDERS.iter().any(|own| {
                folder.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            if is_own && folders.insert(folder.to_owned()) {
                let _ = writeln!(text, "%dir %attr({MODE_FOLDER:04o}, root, root) {folder}");
            }
        }
        let kind = if item.is_config { "%config(noreplace) " } else { "" };
        let _ = writeln!(text, "{kind}%attr({:04o}, root, root) {path}", item.mode);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::tree::Item;

    #[test]
    fn configuration_is_kept_and_only_our_own_folders_are_listed() {
        let mut tree = Tree::default();
        tree.add("/etc/qfilexchgd/policy.d/a", Item { is_config: true, ..Item::bytes(Vec::new()) }).unwrap();
        tree.add("/usr/share/man/man7/b", Item::bytes(Vec::new())).unwrap();
        let mut lines: Vec<String> = list(&tree).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "%attr(0644, root, root) /usr/share/man/man7/b",
                "%config(noreplace) %attr(0644, root, root) /etc/qfilexchgd/policy.d/a",
                "%dir %attr(0755, root, root) /etc/qfilexchgd",
                "%dir %attr(0755, root, root) /etc/qfilexchgd/policy.d",
            ]
        );
    }

    #[test]
    fn zsh_looks_elsewhere_on_fedora() {
        let mut tree = Tree::default();
        tree.add("/usr/share/zsh/vendor-completions/_x", Item::bytes(Vec::new())).unwrap();
        assert!(moved(&tree).unwrap().items.contains_key("/usr/share/zsh/site-functions/_x"));
    }
}
