//! Places: how a device comes, and how it is taken away.

use protocol::attach::AttachFailure;
use protocol::log::Level;

use super::{
    Action, BackState, FoundPlace, Holding, Machine, Millis, Place, RELEASE_MS_MAX, RELEASE_RETRY_MS, State,
    Why, answer,
};

impl Machine {
    /// Takes in a place that was found at start. Without an image of its own it is removed right away.
    pub(super) fn find_place(&mut self, found: FoundPlace, actions: &mut Vec<Action>) {
        let FoundPlace { place, image, connected } = found;
        let is_kept = self.images.contains_key(&image) && self.holder(image).is_none();
        let state = if connected { State::Attached } else { State::Half };
        self.places.insert(place, Holding { image, attachment: None, state });
        if !is_kept {
            actions.push(Action::Log(
                Level::Warning,
                format!("{place} holds an image that is gone, or is elsewhere: removed"),
            ));
            self.take_away(place, Why::Leftover, actions);
        }
    }

    /// Removes the nodes of a place, whatever its guest thinks of it.
    pub(super) fn take_away(&mut self, place: Place, why: Why, actions: &mut Vec<Action>) {
        if let Some(holding) = self.places.get_mut(&place) {
            // Both times are set when the nodes are removed.
            holding.state = State::Releasing { why, retry: Millis::MAX, deadline: Millis::MAX };
            actions.push(Action::Remove(place));
        }
    }

    pub(super) fn connecting(
        &mut self,
        place: Place,
        result: Result<(), AttachFailure>,
        actions: &mut Vec<Action>,
    ) {
        let (Err(failure), Some(holding)) = (result, self.places.get(&place)) else { return };
        if let State::Connecting { id, .. } = holding.state {
            self.places.remove(&place);
            actions.push(answer(id, Err(failure)));
        }
    }

    pub(super) fn closing(&mut self, place: Place, told: bool, actions: &mut Vec<Action>) {
        let Some(holding) = self.places.get(&place) else { return };
        if let (false, State::Closing { why, .. }) = (told, holding.state) {
            self.take_away(place, why, actions);
        }
    }

    pub(super) fn back_end(&mut self, place: Place, state: BackState, actions: &mut Vec<Action>) {
        let Some(holding) = self.places.get_mut(&place) else { return };
        match (holding.state, state) {
            (State::Connecting { id, .. }, BackState::Connected) => {
                holding.state = State::Attached;
                // The guest waits for the answer, and nobody for the other.
                actions.push(answer(id, Ok(())));
                actions.push(Action::Unwatch(place));
            }
            (State::Connecting { id, .. }, BackState::Closing | BackState::Closed) => {
                self.take_away(place, Why::Undo(id, AttachFailure::GuestSilent), actions);
            }
            (State::Connecting { id, .. }, BackState::Gone) => {
                self.take_away(place, Why::Undo(id, AttachFailure::DomainGone), actions);
            }
            (State::Closing { why, .. }, BackState::Closed | BackState::Gone) => {
                self.take_away(place, why, actions);
            }
            (State::Connecting { .. }, BackState::Opening)
            | (State::Closing { .. }, BackState::Opening | BackState::Connected | BackState::Closing)
            | (
                State::Attached | State::Half | State::Stuck | State::Releasing { .. },
                BackState::Opening
                | BackState::Connected
                | BackState::Closing
                | BackState::Closed
                | BackState::Gone,
            ) => {}
        }
    }

    pub(super) fn tick(&mut self, now: Millis, actions: &mut Vec<Action>) {
        let due: Vec<(Place, State)> =
            self.places.iter().map(|(place, holding)| (*place, holding.state)).collect();
        for (place, state) in due {
            match state {
                State::Connecting { id, deadline } if now >= deadline => {
                    actions.push(Action::Log(Level::Warning, format!("{place} was not connected in time")));
                    self.take_away(place, Why::Undo(id, AttachFailure::GuestSilent), actions);
                }
                State::Closing { why, deadline } if now >= deadline => {
                    let text = format!("{place} was not given back in time: taken away");
                    actions.push(Action::Log(Level::Warning, text));
                    self.take_away(place, why, actions);
                }
                State::Releasing { retry, .. } if now >= retry => self.release(place, now, actions),
                State::Connecting { .. }
                | State::Closing { .. }
                | State::Releasing { .. }
                | State::Attached
                | State::Half
                | State::Stuck => {}
            }
        }
    }

    pub(super) fn removed(
        &mut self,
        place: Place,
        result: Result<(), AttachFailure>,
        actions: &mut Vec<Action>,
    ) {
        let Some(holding) = self.places.get_mut(&place) else { return };
        let State::Releasing { why, .. } = holding.state else { return };
        match result {
            Ok(()) => actions.push(Action::Release { place, image: holding.image }),
            Err(failure) => self.stuck(place, why, failure, actions),
        }
    }

    fn release(&mut self, place: Place, now: Millis, actions: &mut Vec<Action>) {
        let Some(holding) = self.places.get_mut(&place) else { return };
        if let State::Releasing { why, deadline, .. } = holding.state {
            let retry = now.saturating_add(RELEASE_RETRY_MS);
            holding.state = State::Releasing { why, retry, deadline };
            actions.push(Action::Release { place, image: holding.image });
        }
    }

    pub(super) fn released(
        &mut self,
        place: Place,
        unbound: Result<bool, AttachFailure>,
        now: Millis,
        actions: &mut Vec<Action>,
    ) {
        let Some(holding) = self.places.get_mut(&place) else { return };
        let State::Releasing { why, deadline, .. } = holding.state else { return };
        match unbound {
            Ok(true) => {
                self.places.remove(&place);
                actions.extend(match why {
                    Why::Detach(id) => Some(answer(id, Ok(()))),
                    Why::Undo(id, failure) => Some(answer(id, Err(failure))),
                    Why::Leftover => None,
                });
                self.forget_if_empty(place.domid, actions);
            }
            Ok(false) if now >= deadline && deadline != Millis::MAX => {
                self.stuck(place, why, AttachFailure::Io, actions);
            }
            Ok(false) => {
                let deadline = deadline.min(now.saturating_add(RELEASE_MS_MAX));
                let retry = now.saturating_add(RELEASE_RETRY_MS);
                holding.state = State::Releasing { why, retry, deadline };
            }
            Err(failure) => self.stuck(place, why, failure, actions),
        }
    }

    /// The place keeps its image, so that nobody else gets it, until a further order tries again.
    fn stuck(&mut self, place: Place, why: Why, failure: AttachFailure, actions: &mut Vec<Action>) {
        let Some(holding) = self.places.get_mut(&place) else { return };
        holding.state = State::Stuck;
        actions.push(Action::Log(Level::Error, format!("{place} could not be taken away: {failure}")));
        actions.extend(match why {
            Why::Detach(id) | Why::Undo(id, _) => Some(answer(id, Err(failure))),
            Why::Leftover => None,
        });
        // The domain is forgotten as far as that is possible; its order must not wait for ever.
        if let Some(id) = self.forgetting.remove(&place.domid) {
            actions.push(answer(id, Err(failure)));
        }
    }
}
