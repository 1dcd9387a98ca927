//! Every limit of the store. The figures are those of Xen 4.17's C daemon.

/// Bytes of payload that one message may carry, in either direction.
pub const PAYLOAD_BYTES_MAX: usize = 4096;
/// Bytes of an absolute path.
pub const ABSOLUTE_PATH_BYTES_MAX: usize = 3072;
/// Bytes of a path below `/local/domain/ID/`.
pub const RELATIVE_PATH_BYTES_MAX: usize = 2048;
/// Nodes that a guest may own.
pub const GUEST_NODES_MAX: usize = 1000;
/// Watches of a guest.
pub const GUEST_WATCHES_MAX: usize = 128;
/// Bytes of a value that a guest writes.
pub const GUEST_VALUE_BYTES_MAX: usize = 2048;
/// Transactions that a guest has open at one time.
pub const GUEST_TRANSACTIONS_MAX: usize = 10;
/// Entries in the permission list of a node, when a guest sets it.
pub const GUEST_PERMISSIONS_MAX: usize = 5;
/// Bytes that wait for one client before no more requests of it are read.
pub const OUT_QUEUE_PAUSE_BYTES: usize = 64 * 1024;
/// Bytes that wait for one client before it is dropped.
pub const OUT_QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// Connections of one domain at one time.
pub const CONNECTIONS_PER_DOMAIN_MAX: usize = 128;
