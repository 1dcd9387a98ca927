//! The keys of a domain through which it asks and is answered.

use protocol::attach::AttachFailure;
use protocol::reply::Reply;
use protocol::types::{Device, Domid};
use xenstore::path::DomainPath;
use xenstore::{Client, Error, Permissions, Refusal, Transaction, missing_is_none};

use crate::machine::Place;
use crate::trouble::Trouble;
use crate::vbd;

/// Makes `device/qpen` and `qpen/reply` where they are missing, and sets their permissions in any case. A value that is
/// there stays: it may be a request, or an answer that was not read yet.
///
/// # Errors
/// [`AttachFailure::DomainGone`], [`AttachFailure::Xenstore`].
pub fn make_qpen(client: &mut Client, domid: Domid) -> Result<(), Trouble> {
    gone_if_missing(client.transaction(|transaction| {
        // Fails with ENOENT, before anything is made, if the domain is gone.
        transaction.permissions(&DomainPath::home(domid))?;
        let request = DomainPath::qpen(domid);
        transaction.mkdir(&request)?;
        transaction.set_permissions(&request, &Permissions::guest_reads_and_writes(domid))?;
        make_reply(transaction, domid)
    }))
}

/// Writes a reply.
///
/// # Errors
/// [`AttachFailure::DomainGone`], [`AttachFailure::Xenstore`].
pub fn answer(client: &mut Client, domid: Domid, reply: &Reply) -> Result<(), Trouble> {
    let text = reply.to_string();
    gone_if_missing(client.transaction(|transaction| {
        let key = DomainPath::reply(domid);
        if missing_is_none(transaction.permissions(&key))? != Some(Permissions::guest_reads(domid)) {
            transaction.permissions(&DomainPath::home(domid))?;
            make_reply(transaction, domid)?;
        }
        transaction.write(&key, text.as_bytes())
    }))
}

fn make_reply(transaction: &mut Transaction<'_>, domid: Domid) -> Result<(), Error> {
    let readable = Permissions::guest_reads(domid);
    for node in [DomainPath::replies(domid), DomainPath::reply(domid)] {
        transaction.mkdir(&node)?;
        transaction.set_permissions(&node, &readable)?;
    }
    Ok(())
}

/// Removes what is ours of a domain that is gone; its devices are removed before.
///
/// # Errors
/// [`AttachFailure::Xenstore`].
pub fn forget(client: &mut Client, domid: Domid) -> Result<(), Trouble> {
    for device in Device::ALL {
        vbd::sweep(client, Place { domid, device })?;
    }
    client.transaction(|transaction| {
        for node in [
            DomainPath::qpen(domid),
            DomainPath::replies(domid),
            DomainPath::source(domid),
            DomainPath::transaction_seq(domid),
        ] {
            transaction.rm(&node)?;
        }
        vbd::remove_list_if_empty(transaction, domid)
    })?;
    Ok(())
}

fn gone_if_missing(result: Result<(), Error>) -> Result<(), Trouble> {
    match result {
        Err(Error::Refused(Refusal::NoEntry)) => Err(AttachFailure::DomainGone.into()),
        result => Ok(result?),
    }
}
