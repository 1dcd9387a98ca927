//! A `.deb`: the files, the documents that Debian's policy asks for, and the control file.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::list::{List, Package, packaging};
use super::metadata::Metadata;
use super::release::Release;
use super::tree::{Content, Item, MODE_PROGRAM, Tree, set_time};
use super::{filter, notices};
use crate::supply::sbom;
use crate::{Outcome, run, workspace};

/// The architecture: the profiles of the sandboxes are for this one alone.
const ARCHITECTURE: &str = "amd64";
/// The scripts that a package manager may run.
const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];
/// Of the accounts, the units and the files at start.
const NEEDS_SYSTEMD: &str = "systemd | systemd-standalone-sysusers";

/// The program that contains fonts, and their licence.
const FONTS_IN: &str = "dialog-window";
const FONTS_LICENCE: &str = "dialog/window/ui/fonts/LICENSE";

/// Adds what belongs into /usr/share/doc.
pub fn add_documents(
    tree: &mut Tree,
    list: &List,
    package: Package,
    metadata: &Metadata,
    release: &Release,
) -> Outcome<()> {
    let folder = format!("/usr/share/doc/{}", package.name());
    let programs: BTreeSet<&str> = list.programs(package).collect();
    let crates = metadata.contained_in(&programs);
    let copyright = text("debian/copyright")?.replace("@DEPENDENCIES@", &notices::lines(&crates)?);
    tree.add(&format!("{folder}/copyright"), Item::bytes(copyright.into_bytes()))?;
    let mut texts = notices::texts(&crates)?;
    if programs.contains(FONTS_IN) {
        texts.push_str(&notices::of_file("its fonts", &workspace::top().join(FONTS_LICENCE))?);
    }
    let texts = filter::gzip(texts.as_bytes())?;
    tree.add(&format!("{folder}/NOTICES.gz"), Item::bytes(texts))?;
    let overrides = packaging("debian").join(format!("{}.lintian-overrides", package.short()));
    if let Ok(bytes) = fs::read(&overrides) {
        tree.add(&format!("/usr/share/lintian/overrides/{}", package.name()), Item::bytes(bytes))?;
    }
    let sbom = sbom::text(list, package, metadata, release)?;
    tree.add(&format!("{folder}/sbom.cdx.json"), Item::bytes(sbom.into_bytes()))?;
    let changelog = filter::gzip(release.changelog.as_bytes())?;
    tree.add(&format!("{folder}/changelog.Debian.gz"), Item::bytes(changelog))
}

/// Makes the package in `out` and says which file it is.
pub fn make(
    tree: &Tree,
    package: Package,
    release: &Release,
    scratch: &Path,
    out: &Path,
) -> Outcome<PathBuf> {
    let root = scratch.join(package.name());
    tree.write(&root, release.epoch_s)?;
    let control = root.join("DEBIAN");
    let failed = |error: std::io::Error| format!("{}: {error}", control.display());
    fs::create_dir(&control).map_err(failed)?;
    for (name, content, mode) in control_files(tree, package, release, &root, scratch)? {
        let path = control.join(name);
        fs::write(&path, content).map_err(failed)?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(failed)?;
        set_time(&path, release.epoch_s).map_err(failed)?;
    }
    set_time(&control, release.epoch_s).and_then(|()| set_time(&root, release.epoch_s)).map_err(failed)?;
    let deb = out.join(format!("{}_{}_{ARCHITECTURE}.deb", package.name(), release.debian_version));
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "-Zxz", "--build"]).arg(&root).arg(&deb);
    command.env("SOURCE_DATE_EPOCH", release.epoch_s.to_string()).stdout(std::process::Stdio::null());
    run::succeed(&mut command, "dpkg-deb")?;
    Ok(deb)
}

fn control_files(
    tree: &Tree,
    package: Package,
    release: &Release,
    root: &Path,
    scratch: &Path,
) -> Outcome<Vec<(String, Vec<u8>, u32)>> {
    let mut files = vec![
        ("control".to_owned(), control(tree, package, release, root, scratch)?.into_bytes(), 0o644),
        ("md5sums".to_owned(), md5sums(tree, root)?, 0o644),
    ];
    let configs: Vec<&str> =
        tree.items.iter().filter(|(_, item)| item.is_config).map(|(path, _)| path.as_str()).collect();
    if !configs.is_empty() {
        files.push(("conffiles".to_owned(), (configs.join("\n") + "\n").into_bytes(), 0o644));
    }
    for script in SCRIPTS {
        let path = packaging("debian").join(format!("{}.{script}", package.short()));
        if path.is_file() {
            let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            files.push((script.to_owned(), bytes, 0o755));
        }
    }
    Ok(files)
}

fn control(tree: &Tree, package: Package, release: &Release, root: &Path, scratch: &Path) -> Outcome<String> {
    let mut depends = shared_libraries(tree, root, scratch)?;
    if tree.items.keys().any(|path| path.starts_with("/usr/lib/sysusers.d/")) {
        depends = format!("{depends}, {NEEDS_SYSTEMD}");
    }
    let mut text = String::new();
    let _ = write!(
        text,
        "Package: {}\nSource: qfilexchg\nVersion: {}\nArchitecture: {ARCHITECTURE}\nMaintainer: {}\n\
         Installed-Size: {}\nDepends: {depends}\nSection: admin\nPriority: optional\n",
        package.name(),
        release.debian_version,
        release.maintainer,
        installed_kib(tree, root)?
    );
    text.push_str(&self::text(&format!("debian/{}.control", package.short()))?);
    Ok(text)
}

/// What `dpkg-shlibdeps` finds out about the programs.
fn shared_libraries(tree: &Tree, root: &Path, scratch: &Path) -> Outcome<String> {
    let place = scratch.join("shlibdeps/debian");
    fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let stub = "Source: qfilexchg\n\nPackage: qfilexchg\nArchitecture: any\n";
    fs::write(place.join("control"), stub).map_err(|error| format!("{}: {error}", place.display()))?;
    let mut command = Command::new("dpkg-shlibdeps");
    command.arg("-O").current_dir(scratch.join("shlibdeps"));
    for (path, item) in &tree.items {
        if item.mode == MODE_PROGRAM && matches!(item.content, Content::File(_)) {
            command.arg(format!("-e{}", root.join(path.trim_start_matches('/')).display()));
        }
    }
    let output = command.output().map_err(|error| format!("dpkg-shlibdeps (package dpkg-dev): {error}"))?;
    run::check(output.status, "dpkg-shlibdeps")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let depends = said.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    depends.map(str::to_owned).ok_or_else(|| format!("dpkg-shlibdeps said only: {said}"))
}

/// The size that Debian's policy defines: each file rounded up to KiB, each folder as 1 KiB.
fn installed_kib(tree: &Tree, root: &Path) -> Outcome<u64> {
    let mut kib = 0;
    let mut folders = BTreeSet::new();
    for path in tree.items.keys() {
        let on_disk = root.join(path.trim_start_matches('/'));
        let bytes = fs::symlink_metadata(&on_disk).map_err(|error| format!("{path}: {error}"))?.len();
        kib += bytes.div_ceil(1024).max(1);
        folders.extend(Path::new(path).ancestors().skip(1).map(Path::to_owned));
    }
    Ok(kib + u64::try_from(folders.len()).unwrap_or_default())
}

fn md5sums(tree: &Tree, root: &Path) -> Outcome<Vec<u8>> {
    let mut command = Command::new("md5sum");
    command.current_dir(root);
    for (path, item) in &tree.items {
        if !item.is_config && !matches!(item.content, Content::Link(_)) {
            command.arg(path.trim_start_matches('/'));
        }
    }
    let output = command.output().map_err(|error| format!("md5sum: {error}"))?;
    run::check(output.status, "md5sum")?;
    Ok(output.stdout)
}

fn text(name: &str) -> Outcome<String> {
    let path = packaging(name);
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}
