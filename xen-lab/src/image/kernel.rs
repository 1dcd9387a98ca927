//! Linux and Xen in the forms in which they boot without further work, and the kernel's modules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cpio::{Entry, Root};
use crate::LabError;

/// Where modules are in a root of ours, with a list in the order in which they are to be loaded.
const MODULES: &str = "lab/modules";

/// The one file whose name begins so.
fn one(folder: &Path, prefix: &str, suffix: &str) -> Result<PathBuf, LabError> {
    let entries = fs::read_dir(folder).map_err(LabError::at(folder))?;
    let mut found = entries.flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix) && name.ends_with(suffix)
    });
    found.next().ok_or_else(|| LabError::Missing(format!("{}/{prefix}*{suffix}", folder.display())))
}

/// QEMU's loader wants the hypervisor as a plain ELF file.
pub fn xen(debian: &Path, to: &Path) -> Result<(), LabError> {
    let packed = one(&debian.join("boot"), "xen-", "-amd64.gz")?;
    let unpacked = crate::run(Command::new("gzip").arg("-dc").arg(&packed), "unpacking Xen")?;
    fs::write(to, unpacked).map_err(LabError::at(to))
}

/// Takes the kernel proper out of its self-unpacking form, which under emulation would be slow. Where it lies is said by
/// the header (Linux, Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length).
pub fn linux(debian: &Path, to: &Path) -> Result<(), LabError> {
    let path = one(&debian.join("boot"), "vmlinuz-", "")?;
    let bytes = fs::read(&path).map_err(LabError::at(&path))?;
    let strange = || LabError::Missing(format!("{}: not a kernel that can be unpacked", path.display()));
    let word = |at: usize| -> Option<usize> {
        usize::try_from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)).ok()
    };
    let sectors = usize::from(*bytes.get(0x1f1).ok_or_else(strange)?);
    let offset = (sectors + 1) * 512 + word(0x248).ok_or_else(strange)?;
    let length = word(0x24c).ok_or_else(strange)?;
    let payload = bytes.get(offset..offset + length).ok_or_else(strange)?;
    let packed = to.with_extension("xz");
    fs::write(&packed, payload).map_err(LabError::at(&packed))?;
    let mut command = Command::new("xz");
    // Behind the stream is its length, which xz takes for garbage after all is done.
    command.args(["-dc", "--single-stream"]).arg(&packed).stdin(Stdio::null()).stderr(Stdio::null());
    let unpacked = command.output().map_err(|error| LabError::Missing(format!("xz: {error}")))?.stdout;
    let _ = fs::remove_file(&packed);
    if !unpacked.starts_with(b"\x7fELF") {
        return Err(strange());
    }
    fs::write(to, unpacked).map_err(LabError::at(to))
}

/// The modules of a kernel, by their names with underscores.
pub struct Modules(BTreeMap<String, PathBuf>);

impl Modules {
    /// Finds them.
    pub fn find(debian: &Path) -> Result<Self, LabError> {
        let mut found = BTreeMap::new();
        let mut folders = vec![debian.join("lib/modules")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(LabError::at(&folder))?.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(name) =
                    path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko"))
                {
                    found.insert(name.replace('-', "_"), path);
                }
            }
        }
        Ok(Self(found))
    }

    /// Puts these modules, and those that they need, into a root.
    pub fn add(&self, root: &mut Root, wanted: &[&str]) -> Result<(), LabError> {
        let mut order = Vec::new();
        for name in wanted {
            self.add_one(root, name, &mut order)?;
        }
        let list: String = order.iter().map(|name| format!("{name}.ko\n")).collect();
        root.add(&format!("{MODULES}/order"), Entry::File(0o644, list.into_bytes()));
        Ok(())
    }

    fn add_one(&self, root: &mut Root, name: &str, order: &mut Vec<String>) -> Result<(), LabError> {
        let name = name.replace('-', "_");
        if order.contains(&name) {
            return Ok(());
        }
        let path = self.0.get(&name).ok_or_else(|| LabError::Missing(format!("the module {name}")))?;
        let bytes = fs::read(path).map_err(LabError::at(path))?;
        for needed in needs(&bytes) {
            self.add_one(root, &needed, order)?;
        }
        root.add(&format!("{MODULES}/{name}.ko"), Entry::File(0o644, bytes));
        order.push(name);
        Ok(())
    }
}

/// What a module needs: the entry `depends=` of its section .modinfo.
fn needs(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else { return Vec::new() };
    let rest = module.get(at + key.len()..).unwrap_or_default();
    let value = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        assert_eq!(needs(b"\x7fELF\0alias=x\0depends=fat,nls_base\0name=vfat\0"), ["fat", "nls_base"]);
        assert!(needs(b"\0depends=\0name=x\0").is_empty());
        assert!(needs(b"").is_empty());
    }
}
