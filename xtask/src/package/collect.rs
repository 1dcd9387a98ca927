//! From the list to the files of a package.

use std::path::Path;
use std::process::Command;

use super::list::{List, Package, Thing, WORKERS, manual_of, packaging};
use super::tree::{Content, Item, MODE_FILE, MODE_PROGRAM, Tree};
use super::{filter, manual};
use crate::{Outcome, run};

/// A shell, the name of a program's completions in its folder of packaging/completions, and where Debian and the
/// shell's own sources look for them.
const COMPLETIONS: [(&str, &str, &str, &str); 3] = [
    ("bash", "", "", "/usr/share/bash-completion/completions"),
    ("zsh", "_", "", "/usr/share/zsh/vendor-completions"),
    ("fish", "", ".fish", "/usr/share/fish/vendor_completions.d"),
];
/// Where Fedora's zsh looks.
pub const ZSH_FUNCTIONS_RPM: &str = "/usr/share/zsh/site-functions";
/// Where Debian's zsh looks.
pub const ZSH_FUNCTIONS_DEB: &str = "/usr/share/zsh/vendor-completions";
/// Manual pages.
const MANUALS: &str = "/usr/share/man";

/// All files of a package but its documents; programs are taken from `programs`, without their debug information,
/// which is put aside in `scratch`.
pub fn collect(list: &List, package: Package, programs: &Path, scratch: &Path) -> Outcome<Tree> {
    let mut tree = Tree::default();
    for thing in list.of(package) {
        match thing {
            Thing::Program { name, folder } => {
                tree.add(&format!("{folder}{name}"), program(programs, name, scratch)?)?;
                add_manual(&mut tree, &manual_of(name)?)?;
                for (shell, before, after, folder) in COMPLETIONS {
                    let file = format!("{before}{name}{after}");
                    let source = packaging("completions").join(shell).join(&file);
                    tree.add(&format!("{folder}/{file}"), plain(&source, false)?)?;
                }
            }
            Thing::Worker { name, manual } => {
                tree.add(&format!("{WORKERS}/{name}"), program(programs, name, scratch)?)?;
                add_worker_manual(&mut tree, name, manual)?;
            }
            Thing::Manual(page) => add_manual(&mut tree, page)?,
            Thing::File { source, to, is_config } => tree.add(to, plain(&packaging(source), *is_config)?)?,
        }
    }
    Ok(tree)
}

fn plain(source: &Path, is_config: bool) -> Outcome<Item> {
    let bytes = std::fs::read(source).map_err(|error| format!("{}: {error}", source.display()))?;
    Ok(Item { content: Content::Bytes(bytes), mode: MODE_FILE, is_config })
}

/// A program without its debug information, which is 9 bytes of 10 and names the builder's folders.
fn program(programs: &Path, name: &str, scratch: &Path) -> Outcome<Item> {
    let stripped = scratch.join(name);
    if !stripped.exists() {
        let mut strip = Command::new("strip");
        strip.args(["--strip-unneeded", "--remove-section=.comment", "-o"]).arg(&stripped);
        run::succeed(strip.arg(programs.join(name)), &format!("strip {name} (package binutils)"))?;
    }
    Ok(Item { content: Content::File(stripped), mode: MODE_PROGRAM, is_config: false })
}

/// `NAME.SECTION` as `/usr/share/man/manSECTION/NAME.SECTION.gz`.
fn manual_path(page: &str) -> Outcome<String> {
    let section = page.rsplit('.').next().filter(|section| matches!(*section, "1" | "5" | "7" | "8"));
    let section = section.ok_or_else(|| format!("{page}: a manual ends in .1, .5, .7 or .8"))?;
    Ok(format!("{MANUALS}/man{section}/{page}.gz"))
}

fn add_manual(tree: &mut Tree, page: &str) -> Outcome<()> {
    let text = manual::page(page)?;
    tree.add(&manual_path(page)?, Item::bytes(filter::gzip(text.as_bytes())?))
}

/// Workers share a page. Each finds it under a name of its own: `dialog` alone is somebody else's.
fn add_worker_manual(tree: &mut Tree, worker: &str, page: &str) -> Outcome<()> {
    let path = manual_path(page)?;
    if !tree.items.contains_key(&path) {
        add_manual(tree, page)?;
    }
    let (stem, section) = page.rsplit_once('.').unwrap_or_default();
    let family = stem.split_once('-').map_or(stem, |(family, _)| family);
    let link = manual_path(&format!("{family}-{worker}.{section}"))?;
    if link == path {
        return Ok(());
    }
    let target = path.rsplit('/').next().unwrap_or_default().to_owned();
    tree.add(&link, Item { content: Content::Link(target), mode: MODE_FILE, is_config: false })
}
