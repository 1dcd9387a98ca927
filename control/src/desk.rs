//! What control does about each event: pure, and bounded by the number of clients.

use std::collections::BTreeMap;

use protocol::control::{
    ClientReply, ControlCommand, ControlEvent, ControlRequest, Refusal, Ticket, answers,
};

/// Most clients at once.
pub const CLIENTS_MAX: usize = 64;
/// Most clients of one user at once: the others must not be kept out by one.
pub const CLIENTS_PER_UID_MAX: usize = 8;
/// How long a client may take for its next request, and to read an answer, in milliseconds. Then it is sent away.
pub const CLIENT_MS_MAX: u64 = 10_000;
/// Shortest time between two requests of one client, in milliseconds: the broker has more to do.
pub const REQUEST_MS_MIN: u64 = 10;

/// One connection, never the number of another in the life of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody connected: under this user id, or `None` for one that may not ask.
    Connected(ClientId, Option<u32>),
    /// A client sent one datagram, which is a request or nothing that can be understood.
    Said(ClientId, Option<ControlRequest>),
    /// A client has been sent everything that there was for it.
    Served(ClientId),
    /// A client went away.
    Gone(ClientId),
    /// The broker answered.
    Answered(ControlCommand),
    /// Time has passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Pass a request on.
    Ask(ControlEvent),
    /// Tell a client.
    Tell(ClientId, ClientReply),
    /// End a connection, once what it was told is sent.
    Close(ClientId),
    /// Give up: the broker does not keep to the protocol.
    End,
}

/// Where a client is.
///
/// | state | its next datagram | the broker's answer | told everything | time over |
/// |---|---|---|---|---|
/// | `Idle` | passed on: `Asked` | – | – | closed |
/// | `Asked` | not read | told: `Reading` | – | closed |
/// | `Reading` | not read | – | `Idle` | closed |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Asked(Ticket),
    Reading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Client {
    uid: u32,
    state: State,
    /// When it is sent away.
    ends_ms: u64,
    /// When it may ask again.
    asks_ms: u64,
}

/// The clients, and the requests that the broker has not answered.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    clients: BTreeMap<ClientId, Client>,
    open: BTreeMap<Ticket, (ControlRequest, ClientId)>,
    last_ticket: u64,
}

impl Desk {
    /// Whether the next datagram of this client is to be read now.
    #[must_use]
    pub fn is_heard(&self, id: ClientId, now_ms: u64) -> bool {
        self.clients.get(&id).is_some_and(|client| client.state == State::Idle && client.asks_ms <= now_ms)
    }

    /// When [`Event::Tick`] is due, or a client can be heard again.
    #[must_use]
    pub fn next_tick_ms(&self, now_ms: u64) -> Option<u64> {
        let ends = self.clients.values().map(|client| client.ends_ms);
        let asks = self.clients.values().map(|client| client.asks_ms).filter(|asks_ms| *asks_ms > now_ms);
        ends.chain(asks).min()
    }

    /// What an event means. `now_ms` is any clock that never goes back.
    pub fn step(&mut self, event: Event, now_ms: u64) -> Vec<Action> {
        match event {
            Event::Connected(id, uid) => self.connected(id, uid, now_ms),
            Event::Said(id, request) => self.said(id, request, now_ms),
            Event::Served(id) => self.served(id, now_ms),
            Event::Gone(id) => {
                // Its request stays open, so that the broker's answer to it is known for one.
                self.clients.remove(&id);
                Vec::new()
            }
            Event::Answered(command) => self.answered(command, now_ms),
            Event::Tick => self.expire(now_ms),
        }
    }

    fn connected(&mut self, id: ClientId, uid: Option<u32>, now_ms: u64) -> Vec<Action> {
        let Some(uid) = uid else { return refused(id, Refusal::NotPermitted) };
        let of_uid = self.clients.values().filter(|client| client.uid == uid).count();
        if self.clients.len() >= CLIENTS_MAX || of_uid >= CLIENTS_PER_UID_MAX {
            return refused(id, Refusal::TooMany);
        }
        let ends_ms = now_ms.saturating_add(CLIENT_MS_MAX);
        self.clients.insert(id, Client { uid, state: State::Idle, ends_ms, asks_ms: now_ms });
        Vec::new()
    }

    fn said(&mut self, id: ClientId, request: Option<ControlRequest>, now_ms: u64) -> Vec<Action> {
        let Some(client) = self.clients.get_mut(&id).filter(|client| client.state == State::Idle) else {
            return Vec::new();
        };
        let Some(request) = request else {
            self.clients.remove(&id);
            return refused(id, Refusal::NotUnderstood);
        };
        self.last_ticket = self.last_ticket.saturating_add(1);
        let ticket = Ticket(self.last_ticket);
        client.state = State::Asked(ticket);
        client.ends_ms = now_ms.saturating_add(CLIENT_MS_MAX);
        client.asks_ms = now_ms.saturating_add(REQUEST_MS_MIN);
        self.open.insert(ticket, (request, id));
        vec![Action::Ask(ControlEvent::Asked { ticket, uid: client.uid, request })]
    }

    fn answered(&mut self, command: ControlCommand, now_ms: u64) -> Vec<Action> {
        let Some((request, id)) = self.open.remove(&command.ticket) else { return vec![Action::End] };
        if !answers(&request, &command.reply) {
            return vec![Action::End];
        }
        let Some(client) = self.clients.get_mut(&id) else { return Vec::new() };
        client.state = State::Reading;
        client.ends_ms = now_ms.saturating_add(CLIENT_MS_MAX);
        vec![Action::Tell(id, ClientReply::Answered(command.reply))]
    }

    fn served(&mut self, id: ClientId, now_ms: u64) -> Vec<Action> {
        if let Some(client) = self.clients.get_mut(&id).filter(|client| client.state == State::Reading) {
            client.state = State::Idle;
            client.ends_ms = now_ms.saturating_add(CLIENT_MS_MAX);
        }
        Vec::new()
    }

    fn expire(&mut self, now_ms: u64) -> Vec<Action> {
        let due = self.clients.iter().filter(|(_, client)| client.ends_ms <= now_ms);
        let due: Vec<ClientId> = due.map(|(id, _)| *id).collect();
        for id in &due {
            self.clients.remove(id);
        }
        due.into_iter().map(Action::Close).collect()
    }
}

fn refused(id: ClientId, refusal: Refusal) -> Vec<Action> {
    vec![Action::Tell(id, ClientReply::Refused(refusal)), Action::Close(id)]
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
