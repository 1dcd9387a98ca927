//! What each worker is told of the configuration.

use std::path::Path;

use policy::Policy;
use protocol::codec::{self, CodecError};
use protocol::settings::{AttacherSettings, Backing, BrokerSettings, ControlSettings};
use sys::spawn::Account;

use crate::config::{Config, ConfigError, DialogKind, HostKind};
use crate::files::read_text;

/// Longest file that may hold the UUID of this run of the host, in bytes.
const BOOT_ID_BYTES_MAX: usize = 256;
/// Milliseconds of a second.
pub(crate) const MS_PER_S: u32 = 1000;

/// The limits that the broker keeps.
#[must_use]
pub fn of_broker(config: &Config, boot_id: [u8; 16]) -> BrokerSettings {
    let images = &config.images;
    BrokerSettings {
        size_default: images.size_default,
        size_max: images.size_max,
        images_per_vm_max: images.per_vm_max,
        images_max: images.total_max,
        total_per_vm_mib_max: images.per_vm_mib_max,
        total_mib_max: images.total_mib_max,
        question_ms_max: config.dialog.question_s_max.saturating_mul(MS_PER_S),
        wait_ms_max: config.dialog.wait_s_max.saturating_mul(MS_PER_S),
        incoming_writable: config.dialog.incoming_writable,
        has_dialog: config.dialog.kind.has_process(),
        asks_control: config.dialog.kind == DialogKind::Control,
        has_launcher: config.disposables.are_made(),
        disposables_max: config.disposables.total_max,
        disposables_per_vm_max: config.disposables.per_vm_max,
        launch_ms_max: config.disposables.launch_s_max().saturating_mul(MS_PER_S),
        boot_id,
    }
}

/// The limits that the attacher keeps.
///
/// # Errors
/// The image directory's path is not UTF-8, which a path from the configuration always is.
pub fn of_attacher(config: &Config) -> Result<AttacherSettings, ConfigError> {
    let images = &config.images;
    let backing = match config.host {
        HostKind::Xen => Backing::Loop { devices: images.loop_count },
        HostKind::Simulated => {
            let directory = images.directory.to_str().map(ToOwned::to_owned);
            let directory =
                directory.ok_or_else(|| ConfigError::whole(&images.directory, "this path must be UTF-8"))?;
            Backing::File { directory }
        }
    };
    Ok(AttacherSettings {
        backing,
        spare_size: images.size_default,
        images_max: images.total_max,
        total_mib_max: images.total_mib_max,
        free_mib_min: images.free_mib_min,
        connect_ms_max: images.connect_ms_max,
        boot_ms_max: images.boot_ms_max,
        close_ms_max: images.close_ms_max,
    })
}

/// Who may use `qfilexchgctl`: what control is told.
#[must_use]
pub fn of_control(account: Option<Account>, group: Option<u32>) -> ControlSettings {
    match account {
        Some(Account { uid, gid }) => ControlSettings::Accounts { uid, gid, group },
        None => ControlSettings::Owner { uid: rustix::process::geteuid().as_raw() },
    }
}

/// The broker's memory file: its limits and the policy.
///
/// # Errors
/// [`CodecError::TooLong`] for a policy of very many rules.
pub fn broker_bytes(settings: BrokerSettings, policy: Policy) -> Result<Vec<u8>, CodecError> {
    codec::encode_settings(&(settings, policy))
}

/// Reads the UUID that identifies this run of the host.
///
/// # Errors
/// The file cannot be read, or does not hold a UUID.
pub fn boot_id(file: &Path) -> Result<[u8; 16], ConfigError> {
    let text = read_text(file, BOOT_ID_BYTES_MAX)?;
    parse_uuid(text.trim_end()).ok_or_else(|| ConfigError::whole(file, "does not hold a UUID"))
}

/// The 16 bytes of a UUID in its usual form, 8-4-4-4-12 hexadecimal digits.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let digits = groups.concat();
    if lengths != [8, 4, 4, 4, 12] || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_only_in_its_usual_form() {
        let bytes =
            [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10];
        assert_eq!(parse_uuid("01234567-89ab-cdef-fedc-ba9876543210"), Some(bytes));
        for bad in [
            "",
            "0123456789abcdeffedcba9876543210",
            "01234567-89ab-cdef-fedc-ba987654321",
            "+1234567-89ab-cdef-fedc-ba9876543210",
        ] {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
        assert!(boot_id(Path::new("/proc/sys/kernel/random/boot_id")).is_ok());
    }

    #[test]
    fn the_defaults_reach_the_workers() {
        let file = Path::new("f");
        let config = Config::parse(file, "[dialog]\nkind = \"none\"\n").unwrap();
        let broker = of_broker(&config, [7; 16]);
        assert_eq!((broker.question_ms_max, broker.wait_ms_max, broker.has_dialog), (60_000, 600_000, false));
        assert_eq!(of_attacher(&config).unwrap().backing, Backing::Loop { devices: 64 });
        let text = "[host]\nkind = \"simulated\"\n[images]\ndirectory = \"/i\"\n";
        let config = Config::parse(file, text).unwrap();
        assert!(of_broker(&config, [7; 16]).has_dialog);
        assert_eq!(of_attacher(&config).unwrap().backing, Backing::File { directory: "/i".to_owned() });
        let bytes = broker_bytes(broker.clone(), Policy::default()).unwrap();
        assert_eq!(
            codec::decode_settings::<(BrokerSettings, Policy)>(&bytes),
            Ok((broker, Policy::default()))
        );
    }
}
