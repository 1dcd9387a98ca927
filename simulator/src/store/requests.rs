//! Requests as they come over the wire: arguments in, one reply out.

use super::connection::Watch;
use super::limits::PAYLOAD_BYTES_MAX;
use super::path::{NodePath, WatchPath};
use super::perms::{Permissions, Wish};
use super::wire::{Header, Message, Operation, XsError, single_string, strings};
use super::{ConnectionId, NO_TRANSACTION, Store, home, same_watch};

/// What a request without data in its answer is answered.
const OK: &[u8] = b"OK\0";

impl Store {
    /// Serves one request; the reply and all events that it caused are queued for their clients.
    pub fn handle(&mut self, id: ConnectionId, request: &Header, payload: &[u8]) {
        let operation = Operation::from_number(request.kind).ok_or(XsError::NotPlayed);
        let result =
            operation.and_then(|operation| self.answer(id, operation, request.transaction_id, payload));
        let set_a_watch = result.is_ok() && operation == Ok(Operation::Watch);
        let reply = result
            .map_or_else(|error| Message::error(request, error), |payload| Message::reply(request, payload));
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.queue(reply);
        }
        if set_a_watch {
            self.first_event(id);
        }
    }

    fn answer(
        &mut self,
        id: ConnectionId,
        operation: Operation,
        transaction: u32,
        payload: &[u8],
    ) -> Result<Vec<u8>, XsError> {
        let connection = self.connection(id)?;
        if operation.is_privileged() && connection.domid != 0 {
            return Err(XsError::Access);
        }
        let outside = matches!(operation, Operation::Watch | Operation::Unwatch);
        if !outside && transaction != NO_TRANSACTION && !connection.transactions.contains_key(&transaction) {
            return Err(XsError::NotFound);
        }
        match operation {
            Operation::Directory => self.answer_directory(id, transaction, payload),
            Operation::DirectoryPart => self.answer_directory_part(id, transaction, payload),
            Operation::Read => {
                let path = self.only_path(id, payload)?;
                self.read(id, transaction, &path)
            }
            Operation::GetPerms => {
                let path = self.only_path(id, payload)?;
                self.work(id, transaction, |view| Ok(view.get(&path, Wish::Read)?.permissions.encode()))
            }
            Operation::SetPerms => self.answer_set_perms(id, transaction, payload),
            Operation::Write => self.answer_write(id, transaction, payload),
            Operation::Mkdir => {
                let path = self.only_path(id, payload)?;
                self.mkdir(id, transaction, &path).map(done)
            }
            Operation::Rm => {
                let path = self.only_path(id, payload)?;
                self.remove(id, transaction, &path).map(done)
            }
            Operation::Watch => {
                let watch = self.watch_arguments(id, payload)?;
                self.watch(id, watch.path, &watch.token).map(done)
            }
            Operation::Unwatch => self.answer_unwatch(id, payload),
            Operation::ResetWatches => {
                let connection = self.connections.get_mut(&id).ok_or(XsError::NotFound)?;
                connection.watches.clear();
                connection.transactions.clear();
                Ok(done(()))
            }
            Operation::TransactionStart if transaction != NO_TRANSACTION => Err(XsError::Busy),
            Operation::TransactionStart => self.begin(id).map(|number| format!("{number}\0").into_bytes()),
            Operation::TransactionEnd => match single_string(payload) {
                Some(b"T") => self.commit(id, transaction).map(done),
                Some(b"F") => self.abandon(id, transaction).map(done),
                Some(_) | None => Err(XsError::Invalid),
            },
            Operation::GetDomainPath => {
                let domid = only_domid(payload)?;
                Ok(format!("{}\0", home(domid)).into_bytes())
            }
            Operation::IsDomainIntroduced => {
                let known = self.is_introduced(only_domid(payload)?);
                Ok(if known { b"T\0".to_vec() } else { b"F\0".to_vec() })
            }
            Operation::Control
            | Operation::Introduce
            | Operation::Release
            | Operation::Resume
            | Operation::SetTarget => Err(XsError::NotPlayed),
        }
    }

    fn answer_directory(
        &mut self,
        id: ConnectionId,
        transaction: u32,
        payload: &[u8],
    ) -> Result<Vec<u8>, XsError> {
        let path = self.only_path(id, payload)?;
        Ok(joined(&self.directory(id, transaction, &path)?))
    }

    /// The reply begins with the node's generation, and ends with an empty string when the list ends.
    fn answer_directory_part(
        &mut self,
        id: ConnectionId,
        transaction: u32,
        payload: &[u8],
    ) -> Result<Vec<u8>, XsError> {
        let (arguments, None) = strings(payload) else { return Err(XsError::Invalid) };
        let [path, offset] = arguments.as_slice() else { return Err(XsError::Invalid) };
        let path = NodePath::parse(self.connection(id)?.domid, path)?;
        let offset: usize = std::str::from_utf8(offset)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or(XsError::Invalid)?;
        let node = self.work(id, transaction, |view| view.get(&path, Wish::Read))?;
        let names: Vec<String> = node.children.iter().cloned().collect();
        let list = joined(&names);
        let mut reply = format!("{}\0", node.generation).into_bytes();
        let rest = list.get(offset..).unwrap_or_default();
        let room = PAYLOAD_BYTES_MAX - 1 - reply.len();
        if rest.len() <= room {
            reply.extend_from_slice(rest);
            reply.push(0);
        } else {
            let whole_names = rest.iter().take(room).rposition(|byte| *byte == 0).map_or(0, |nul| nul + 1);
            reply.extend(rest.iter().take(whole_names));
        }
        Ok(reply)
    }

    fn answer_write(
        &mut self,
        id: ConnectionId,
        transaction: u32,
        payload: &[u8],
    ) -> Result<Vec<u8>, XsError> {
        let nul = payload.iter().position(|byte| *byte == 0).ok_or(XsError::Invalid)?;
        let (path, value) = payload.split_at_checked(nul).ok_or(XsError::Invalid)?;
        let path = NodePath::parse(self.connection(id)?.domid, path)?;
        self.write(id, transaction, &path, value.get(1..).unwrap_or_default()).map(done)
    }

    fn answer_set_perms(
        &mut self,
        id: ConnectionId,
        transaction: u32,
        payload: &[u8],
    ) -> Result<Vec<u8>, XsError> {
        let (arguments, None) = strings(payload) else { return Err(XsError::Invalid) };
        let (path, entries) = arguments.split_first().ok_or(XsError::Invalid)?;
        let list = Permissions::parse(entries)?;
        let path = NodePath::parse(self.connection(id)?.domid, path)?;
        self.set_permissions(id, transaction, &path, list).map(done)
    }

    fn answer_unwatch(&mut self, id: ConnectionId, payload: &[u8]) -> Result<Vec<u8>, XsError> {
        let watch = self.watch_arguments(id, payload)?;
        let connection = self.connections.get_mut(&id).ok_or(XsError::NotFound)?;
        let before = connection.watches.len();
        connection.watches.retain(|other| !same_watch(other, &watch));
        if connection.watches.len() == before { Err(XsError::NotFound) } else { Ok(done(())) }
    }

    fn watch_arguments(&self, id: ConnectionId, payload: &[u8]) -> Result<Watch, XsError> {
        let (arguments, None) = strings(payload) else { return Err(XsError::Invalid) };
        let [path, token] = arguments.as_slice() else { return Err(XsError::Invalid) };
        let path = WatchPath::parse(self.connection(id)?.domid, path)?;
        Ok(Watch { path, token: token.to_vec() })
    }

    /// A payload that is one path. Without its NUL the C daemon answers as if there were no such node.
    fn only_path(&self, id: ConnectionId, payload: &[u8]) -> Result<NodePath, XsError> {
        let raw = single_string(payload).ok_or(XsError::NotFound)?;
        NodePath::parse(self.connection(id)?.domid, raw)
    }
}

fn done(_: ()) -> Vec<u8> {
    OK.to_vec()
}

fn only_domid(payload: &[u8]) -> Result<u32, XsError> {
    let raw = single_string(payload).ok_or(XsError::Invalid)?;
    let domid: u16 =
        std::str::from_utf8(raw).ok().and_then(|digits| digits.parse().ok()).ok_or(XsError::Invalid)?;
    Ok(u32::from(domid))
}

fn joined(names: &[String]) -> Vec<u8> {
    names.iter().flat_map(|name| [name.as_bytes(), &[0]].concat()).collect()
}
