//! Resource limits.

use rustix::process::{Resource as Kernel, Rlimit};

use super::{SandboxError, call};
use crate::profile::{Limit, Resource};

/// Sets soft and hard limit of each. A hard limit that is already lower stays, since it cannot be raised.
pub(super) fn set(limits: &[Limit]) -> Result<(), SandboxError> {
    for limit in limits {
        let resource = kernel_name(limit.resource);
        let value = match rustix::process::getrlimit(resource).maximum {
            Some(hard) => limit.value.min(hard),
            None => limit.value,
        };
        rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
            .map_err(call("setting a resource limit", "no reason is known for this to fail"))?;
    }
    Ok(())
}

fn kernel_name(resource: Resource) -> Kernel {
    match resource {
        Resource::As => Kernel::As,
        Resource::Core => Kernel::Core,
        Resource::Cpu => Kernel::Cpu,
        Resource::Data => Kernel::Data,
        Resource::Fsize => Kernel::Fsize,
        Resource::Memlock => Kernel::Memlock,
        Resource::Msgqueue => Kernel::Msgqueue,
        Resource::Nofile => Kernel::Nofile,
        Resource::Nproc => Kernel::Nproc,
        Resource::Stack => Kernel::Stack,
    }
}
