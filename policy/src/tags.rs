//! Tags that dom0's owner gave to VMs: lines `VM TAG [TAG]…`.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use protocol::types::VmName;

use crate::parse::{PolicyError, Reader};

/// Most pairs of VM and tag.
pub const TAGS_MAX: usize = 8192;

/// Which VM has which tags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Tags {
    of_vm: BTreeMap<VmName, BTreeSet<VmName>>,
}

impl Tags {
    /// Reads a tags file.
    ///
    /// # Errors
    /// [`PolicyError`] with line and column.
    pub fn parse(file: &str, untrusted_text: &[u8]) -> Result<Self, PolicyError> {
        let mut tags = Self::default();
        let mut pairs = 0_usize;
        for mut line in Reader::lines(file, untrusted_text)? {
            let Some(vm) = line.word() else { continue };
            let name = VmName::new(vm.text.as_bytes()).map_err(|error| line.error(vm, &error.to_string()))?;
            let mut any = false;
            while let Some(word) = line.word() {
                let tag =
                    VmName::new(word.text.as_bytes()).map_err(|_| line.error(word, "this is no tag name"))?;
                tags.of_vm.entry(name.clone()).or_default().insert(tag);
                any = true;
                pairs = pairs.saturating_add(1);
                if pairs > TAGS_MAX {
                    return Err(line.error(word, "there are more than 8192 tags"));
                }
            }
            if !any {
                return Err(line.error_at_end("a tag is missing after the VM"));
            }
        }
        Ok(tags)
    }

    /// Whether the VM has the tag.
    #[must_use]
    pub fn has(&self, vm: &VmName, tag: &VmName) -> bool {
        self.of_vm.get(vm).is_some_and(|tags| tags.contains(tag))
    }

    /// Whether any VM has the tag.
    #[must_use]
    pub fn knows(&self, tag: &VmName) -> bool {
        self.of_vm.values().any(|tags| tags.contains(tag))
    }
}
