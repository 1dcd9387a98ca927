//! Bounds and defaults of every key.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use protocol::control::CONTROL_SOCKET;
use protocol::types::SizeMib;
use toml::Spanned;

use super::disposables::disposables;
use super::fault::Fault;
use super::raw::{Key, RawAccounts, RawConfig, RawControl, RawImages};
use super::window::window;
use super::{
    Account, Accounts, BUS_BYTES_MAX, Config, Control, Dialog, DialogKind, HostKind, Images, PATH_BYTES_MAX,
};

/// Smallest and largest pendrive in MiB that can be configured: FAT32 begins at 33 MiB.
const SIZE_MIB: RangeInclusive<u32> = 33..=1_048_576;
const PER_VM: RangeInclusive<u32> = 1..=256;
/// An inventory of more would not fit into one message (`protocol::attach::IMAGES_MAX`).
const TOTAL: RangeInclusive<u32> = 1..=256;
const TOTAL_MIB: RangeInclusive<u32> = 33..=1_073_741_824;
const FREE_MIB: RangeInclusive<u32> = 0..=1_073_741_824;
const DEVICE_MS: RangeInclusive<u32> = 100..=25_000;
const BOOT_MS: RangeInclusive<u32> = 100..=50_000;
/// Minor numbers of loop devices have 20 bits.
const LOOP_FIRST: RangeInclusive<u32> = 0..=1_048_000;
const LOOP_COUNT: RangeInclusive<u32> = 1..=256;
const QUESTION_S: RangeInclusive<u32> = 5..=3600;
const WAIT_S: RangeInclusive<u32> = 5..=86_400;
/// Numbers of accounts: neither root, nor nobody, nor the 16-bit and 32-bit values that mean "no id".
const ACCOUNT: RangeInclusive<u32> = 1..=4_294_967_293;
const ACCOUNTS_REFUSED: [u32; 2] = [65_534, 65_535];
/// Longest name of an account, as useradd(8) has it.
const ACCOUNT_BYTES_MAX: usize = 32;

/// The group whose members may use `qfilexchgctl`.
const CONTROL_GROUP: &str = "qfilexchg";

/// Where workers run on a simulated host that root started, if nothing else is configured: numbers that no
/// distribution gives to anybody. On Xen there are accounts of these names instead.
const ACCOUNTS: [(&str, u32); 8] = [
    ("qfx-broker", 64_301),
    ("qfx-monitor", 64_302),
    ("qfx-gate", 64_303),
    ("qfx-attacher", 64_304),
    ("qfx-dialog", 64_305),
    ("qfx-launcher", 64_306),
    ("qfx-control", 64_307),
    ("qfx-notifier", 64_308),
];

/// Checks the text of the file.
pub(super) fn check(text: &str) -> Result<Config, Fault> {
    let raw: RawConfig = toml::from_str(text)
        .map_err(|error| Fault { span: error.span(), text: error.message().to_owned() })?;
    let host = match raw.host.kind.as_ref().map(|kind| (kind.get_ref().as_str(), kind)) {
        None | Some(("xen", _)) => HostKind::Xen,
        Some(("simulated", _)) => HostKind::Simulated,
        Some((_, key)) => return Err(at(key, "the kind of host is \"xen\" or \"simulated\"")),
    };
    Ok(Config {
        host,
        xenstored_socket: path(&raw.host.xenstored_socket, "/run/xenstored/socket")?,
        boot_id_file: path(&raw.host.boot_id_file, "/proc/sys/kernel/random/boot_id")?,
        images: images(&raw.images, host)?,
        journal_directory: path(&raw.journal.directory, "/var/lib/qfilexchgd/journal")?,
        policy_directory: path(&raw.policy.directory, "/etc/qfilexchgd/policy.d")?,
        tags_file: path(&raw.policy.tags_file, "/etc/qfilexchgd/tags")?,
        dialog: dialog(&raw)?,
        notifications_bus: bus(&raw.notifications.bus)?,
        control: control(&raw.control, host)?,
        disposables: disposables(&raw.disposables)?,
        accounts: accounts(&raw.accounts, host)?,
    })
}

fn images(raw: &RawImages, host: HostKind) -> Result<Images, Fault> {
    let images = Images {
        directory: path(&raw.directory, "/var/lib/qfilexchgd/images")?,
        size_default: size(&raw.size_default_mib, 1024)?,
        size_max: size(&raw.size_max_mib, 16_384)?,
        per_vm_max: number(&raw.per_vm_max, 4, &PER_VM)?,
        total_max: number(&raw.total_max, 64, &TOTAL)?,
        per_vm_mib_max: number(&raw.per_vm_mib_max, 32_768, &TOTAL_MIB)?,
        total_mib_max: number(&raw.total_mib_max, 131_072, &TOTAL_MIB)?,
        free_mib_min: number(&raw.free_mib_min, 1024, &FREE_MIB)?,
        connect_ms_max: number(&raw.connect_ms_max, 10_000, &DEVICE_MS)?,
        boot_ms_max: number(&raw.boot_ms_max, 40_000, &BOOT_MS)?,
        close_ms_max: number(&raw.close_ms_max, 5_000, &DEVICE_MS)?,
        loop_first: number(&raw.loop_first, 64, &LOOP_FIRST)?,
        loop_count: number(&raw.loop_count, 64, &LOOP_COUNT)?,
    };
    let size_max = images.size_max.mib();
    let ordered = [
        (
            images.size_default.mib() <= size_max,
            &raw.size_default_mib,
            "size_default_mib exceeds size_max_mib",
        ),
        (size_max <= images.per_vm_mib_max, &raw.size_max_mib, "size_max_mib exceeds per_vm_mib_max"),
        (
            images.per_vm_mib_max <= images.total_mib_max,
            &raw.per_vm_mib_max,
            "per_vm_mib_max exceeds total_mib_max",
        ),
        (images.per_vm_max <= images.total_max, &raw.per_vm_max, "per_vm_max exceeds total_max"),
        (
            host == HostKind::Simulated || images.total_max <= images.loop_count,
            &raw.total_max,
            "total_max exceeds loop_count: on Xen each image needs a loop device",
        ),
    ];
    match ordered.into_iter().find(|(holds, _, _)| !holds) {
        Some((_, key, text)) => Err(Fault { span: span(key), text: text.to_owned() }),
        None => Ok(images),
    }
}

fn dialog(raw: &RawConfig) -> Result<Dialog, Fault> {
    let (raw, labels) = (&raw.dialog, &raw.labels);
    let kind = match &raw.kind {
        Some(key) => DialogKind::from_name(key.get_ref()).map_err(|text| at(key, &text))?,
        None => DialogKind::Terminal,
    };
    Ok(Dialog {
        kind,
        question_s_max: number(&raw.question_s_max, 60, &QUESTION_S)?,
        wait_s_max: number(&raw.wait_s_max, 600, &WAIT_S)?,
        incoming_writable: raw.incoming_writable.as_ref().is_some_and(|key| *key.get_ref()),
        window: window(raw, labels)?,
    })
}

/// A path, alone or as D-Bus writes an address. Empty is none.
fn bus(key: &Key<String>) -> Result<Option<PathBuf>, Fault> {
    let Some(key) = key.as_ref().filter(|key| !key.get_ref().is_empty()) else { return Ok(None) };
    let text = key.get_ref();
    let path = text.strip_prefix("unix:path=").unwrap_or(text);
    // In an address "," begins another part of it, ";" another address, and "%" an escape.
    let is_plain = !path.contains(['\0', ',', ';', '%']);
    if path.starts_with('/') && is_plain && path.len() <= BUS_BYTES_MAX {
        return Ok(Some(PathBuf::from(path)));
    }
    let right = format!(
        "the session bus is unix:path=/PATH or /PATH of at most {BUS_BYTES_MAX} bytes, without NUL , ; and %"
    );
    Err(at(key, &right))
}

fn control(raw: &RawControl, host: HostKind) -> Result<Control, Fault> {
    let group = match &raw.group {
        Some(key) if key.get_ref().is_empty() => None,
        Some(key) => Some(account(key)?),
        None if host == HostKind::Simulated => None,
        None => Some(Account::Name(CONTROL_GROUP.to_owned())),
    };
    Ok(Control { socket: path(&raw.socket, CONTROL_SOCKET)?, group })
}

fn accounts(raw: &RawAccounts, host: HostKind) -> Result<Accounts, Fault> {
    let keys = [
        &raw.broker,
        &raw.xs_monitor,
        &raw.xs_gate,
        &raw.attacher,
        &raw.dialog,
        &raw.dvm_launcher,
        &raw.control,
        &raw.notifier,
    ];
    let mut found: Vec<Account> = Vec::new();
    for (key, (name, number)) in keys.into_iter().zip(ACCOUNTS) {
        let account = match key {
            Some(key) => account(key)?,
            None if host == HostKind::Simulated => Account::Number(number),
            None => Account::Name(name.to_owned()),
        };
        if found.contains(&account) {
            return Err(Fault { span: span(key), text: "two workers cannot share an account".to_owned() });
        }
        found.push(account);
    }
    let Ok([broker, xs_monitor, xs_gate, attacher, dialog, dvm_launcher, control, notifier]) =
        <[Account; 8]>::try_from(found)
    else {
        return Err(Fault { span: None, text: "each worker needs an account".to_owned() });
    };
    Ok(Accounts { broker, xs_monitor, xs_gate, attacher, dialog, dvm_launcher, control, notifier })
}

fn account(key: &Spanned<String>) -> Result<Account, Fault> {
    let text = key.get_ref();
    if let Ok(number) = text.parse::<u32>() {
        if !ACCOUNT.contains(&number) || ACCOUNTS_REFUSED.contains(&number) {
            return Err(at(
                key,
                "this number cannot be a worker's account: it is root's, nobody's or reserved",
            ));
        }
        return Ok(Account::Number(number));
    }
    let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if text.is_empty() || text.len() > ACCOUNT_BYTES_MAX || !fits || text == "root" {
        let right = format!(
            "an account is a number, or a name of 1 to {ACCOUNT_BYTES_MAX} characters of A-Z a-z 0-9 . _ -, not root"
        );
        return Err(at(key, &right));
    }
    Ok(Account::Name(text.clone()))
}

/// A number, or its default.
pub(super) fn number(key: &Key<i64>, default: u32, bounds: &RangeInclusive<u32>) -> Result<u32, Fault> {
    let Some(key) = key else { return Ok(default) };
    match u32::try_from(*key.get_ref()) {
        Ok(number) if bounds.contains(&number) => Ok(number),
        Ok(_) | Err(_) => {
            Err(at(key, &format!("this number must be from {} to {}", bounds.start(), bounds.end())))
        }
    }
}

fn size(key: &Key<i64>, default: u32) -> Result<SizeMib, Fault> {
    let mib = number(key, default, &SIZE_MIB)?;
    SizeMib::new(mib).map_err(|error| Fault { span: span(key), text: error.to_string() })
}

/// An absolute path, or its default.
pub(super) fn path(key: &Key<String>, default: &str) -> Result<PathBuf, Fault> {
    let Some(key) = key else { return Ok(PathBuf::from(default)) };
    let text = key.get_ref();
    if !text.starts_with('/') {
        return Err(at(key, "a path must be absolute: it begins with /"));
    }
    if text.len() > PATH_BYTES_MAX || text.contains('\0') {
        return Err(at(key, &format!("a path has at most {PATH_BYTES_MAX} bytes and no NUL")));
    }
    Ok(PathBuf::from(text))
}

pub(super) fn at<T>(key: &Spanned<T>, text: &str) -> Fault {
    Fault { span: Some(key.span()), text: text.to_owned() }
}

pub(super) fn span<T>(key: &Key<T>) -> Option<Range<usize>> {
    key.as_ref().map(Spanned::span)
}
