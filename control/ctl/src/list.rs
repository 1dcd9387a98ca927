//! Whole lists, page by page.

use protocol::control::{
    ControlReply, ControlRequest, DisposableItem, LogItem, LogStart, Page, PendriveItem,
};
use protocol::dialog::Question;

use crate::Failure;
use crate::client::Client;

/// Most pages of one list: a daemon that goes on and on is no daemon.
const PAGES_MAX: usize = 64;

/// Asks for pages until one is the last.
fn pages<T, const MAX: usize>(
    mut page_after: impl FnMut(Option<&T>) -> Result<Page<T, MAX>, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut all: Vec<T> = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = page_after(all.last())?;
        let has_more = page.has_more();
        all.extend(page.into_items());
        if !has_more {
            return Ok(all);
        }
    }
    Err(Failure::Protocol)
}

pub(crate) fn pendrives(client: &mut Client) -> Result<Vec<PendriveItem>, Failure> {
    pages(|last: Option<&PendriveItem>| {
        let ControlReply::Pendrives(page) =
            client.ask(ControlRequest::Pendrives { after: last.map(|item| item.image) })?
        else {
            return Err(Failure::Protocol);
        };
        Ok(page)
    })
}

pub(crate) fn disposables(client: &mut Client) -> Result<Vec<DisposableItem>, Failure> {
    pages(|last: Option<&DisposableItem>| {
        let ControlReply::Disposables(page) =
            client.ask(ControlRequest::Disposables { after: last.map(|item| item.number) })?
        else {
            return Err(Failure::Protocol);
        };
        Ok(page)
    })
}

pub(crate) fn questions(client: &mut Client) -> Result<Vec<Question>, Failure> {
    pages(|last: Option<&Question>| {
        let ControlReply::Questions(page) =
            client.ask(ControlRequest::Questions { after: last.map(|item| item.id) })?
        else {
            return Err(Failure::Protocol);
        };
        Ok(page)
    })
}

/// The newest lines, oldest first.
pub(crate) fn log(client: &mut Client, lines: u16) -> Result<Vec<LogItem>, Failure> {
    let mut all = pages(|last: Option<&LogItem>| {
        let from = last.map_or(LogStart::Last(lines), |item| LogStart::Number(item.number.saturating_add(1)));
        let ControlReply::Log(page) = client.ask(ControlRequest::Log { from })? else {
            return Err(Failure::Protocol);
        };
        Ok(page)
    })?;
    // More may have been written meanwhile.
    all.truncate(usize::from(lines));
    Ok(all)
}
