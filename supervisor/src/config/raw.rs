//! The configuration file as it is written: which sections and keys there are, and of what type. Bounds and
//! defaults are the business of the parent module.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// A value and its place, if the key is there.
pub(super) type Key<T> = Option<Spanned<T>>;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub host: RawHost,
    pub images: RawImages,
    pub journal: RawJournal,
    pub policy: RawPolicy,
    pub dialog: RawDialog,
    pub notifications: RawNotifications,
    pub control: RawControl,
    pub labels: BTreeMap<String, Spanned<String>>,
    pub disposables: RawDisposables,
    pub accounts: RawAccounts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHost {
    pub kind: Key<String>,
    pub xenstored_socket: Key<String>,
    pub boot_id_file: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawImages {
    pub directory: Key<String>,
    pub size_default_mib: Key<i64>,
    pub size_max_mib: Key<i64>,
    pub per_vm_max: Key<i64>,
    pub total_max: Key<i64>,
    pub per_vm_mib_max: Key<i64>,
    pub total_mib_max: Key<i64>,
    pub free_mib_min: Key<i64>,
    pub connect_ms_max: Key<i64>,
    pub boot_ms_max: Key<i64>,
    pub close_ms_max: Key<i64>,
    pub loop_first: Key<i64>,
    pub loop_count: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawJournal {
    pub directory: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPolicy {
    pub directory: Key<String>,
    pub tags_file: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDialog {
    pub kind: Key<String>,
    pub question_s_max: Key<i64>,
    pub wait_s_max: Key<i64>,
    pub incoming_writable: Key<bool>,
    pub display: Key<String>,
    pub xauthority: Key<String>,
    pub scale: Key<i64>,
    pub theme: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNotifications {
    pub bus: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawControl {
    pub socket: Key<String>,
    pub group: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDisposables {
    pub create: Key<Vec<Spanned<String>>>,
    pub destroy: Key<Vec<Spanned<String>>>,
    pub exists: Key<Vec<Spanned<String>>>,
    pub rebuild: Key<Vec<Spanned<String>>>,
    pub free_memory: Key<Vec<Spanned<String>>>,
    pub template: Key<String>,
    pub base: Key<String>,
    pub memory_mib_min: Key<i64>,
    pub total_max: Key<i64>,
    pub per_vm_max: Key<i64>,
    pub create_s_max: Key<i64>,
    pub destroy_s_max: Key<i64>,
    pub rebuild_s_max: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawAccounts {
    pub broker: Key<String>,
    pub xs_monitor: Key<String>,
    pub xs_gate: Key<String>,
    pub attacher: Key<String>,
    pub dialog: Key<String>,
    pub dvm_launcher: Key<String>,
    pub control: Key<String>,
    pub notifier: Key<String>,
}

#[cfg(test)]
impl RawConfig {
    /// Whether every key there is has a value. Written without `..`, so that a new key does not compile until
    /// it is listed here, and then fails the test of the shipped file until it is documented there.
    pub fn is_complete(&self) -> bool {
        let Self {
            host,
            images,
            journal,
            policy,
            dialog,
            notifications,
            control,
            labels: _,
            disposables,
            accounts,
        } = self;
        let RawNotifications { bus } = notifications;
        let RawHost { kind, xenstored_socket, boot_id_file } = host;
        let host = [kind, xenstored_socket, boot_id_file].iter().all(|key| key.is_some());
        let RawImages {
            directory,
            size_default_mib,
            size_max_mib,
            per_vm_max,
            total_max,
            per_vm_mib_max,
            total_mib_max,
            free_mib_min,
            connect_ms_max,
            boot_ms_max,
            close_ms_max,
            loop_first,
            loop_count,
        } = images;
        let numbers = [
            size_default_mib,
            size_max_mib,
            per_vm_max,
            total_max,
            per_vm_mib_max,
            total_mib_max,
            free_mib_min,
            connect_ms_max,
            boot_ms_max,
            close_ms_max,
            loop_first,
            loop_count,
        ];
        let images = directory.is_some() && numbers.iter().all(|key| key.is_some());
        let RawJournal { directory: journal } = journal;
        let RawPolicy { directory, tags_file } = policy;
        let policy = directory.is_some() && tags_file.is_some();
        let RawDialog {
            kind,
            question_s_max,
            wait_s_max,
            incoming_writable,
            display,
            xauthority,
            scale,
            theme,
        } = dialog;
        let window = [display, xauthority, theme].iter().all(|key| key.is_some()) && scale.is_some();
        let times = question_s_max.is_some() && wait_s_max.is_some();
        let dialog = kind.is_some() && incoming_writable.is_some() && times && window;
        let RawControl { socket, group } = control;
        let control = socket.is_some() && group.is_some();
        let RawAccounts {
            broker,
            xs_monitor,
            xs_gate,
            attacher,
            dialog: asker,
            dvm_launcher,
            control: hears,
            notifier,
        } = accounts;
        let accounts = [broker, xs_monitor, xs_gate, attacher, asker, dvm_launcher, hears, notifier]
            .iter()
            .all(|key| key.is_some());
        control
            && bus.is_some()
            && disposables.is_complete()
            && host
            && images
            && journal.is_some()
            && policy
            && dialog
            && accounts
    }
}

#[cfg(test)]
impl RawDisposables {
    /// As for the whole file.
    fn is_complete(&self) -> bool {
        let Self {
            create,
            destroy,
            exists,
            rebuild,
            free_memory,
            template,
            base,
            memory_mib_min,
            total_max,
            per_vm_max,
            create_s_max,
            destroy_s_max,
            rebuild_s_max,
        } = self;
        let commands = [create, destroy, exists, rebuild, free_memory].iter().all(|key| key.is_some());
        let numbers = [memory_mib_min, total_max, per_vm_max, create_s_max, destroy_s_max, rebuild_s_max];
        commands && template.is_some() && base.is_some() && numbers.iter().all(|key| key.is_some())
    }
}
