//! The window on the display: what is said to the X server, and what it says.
//!
//! The window asks to be above the others and not to get the focus by itself; whether it happens is the window
//! manager's decision. Events that another program has sent (`SendEvent`) are dropped, but for the window manager's
//! wish to close the window, which cannot come otherwise.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dialog::window::{Choice, Event, Key};
use protocol::settings::DialogSettings;
use x11rb::connection::Connection;
use x11rb::errors::{ConnectError, ConnectionError, ReplyError, ReplyOrIdError};
use x11rb::properties::{WmHints, WmSizeHints, WmSizeHintsSpecification};
use x11rb::protocol::Event as XEvent;
use x11rb::protocol::xproto::{
    AtomEnum, ButtonPressEvent, ConnectionExt as _, CreateGCAux, CreateWindowAux, EventMask, FocusInEvent,
    ImageFormat, ImageOrder, Mapping, NotifyDetail, PropMode, Screen as XScreen, VisualClass, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use crate::cookie::Cookie;
use crate::keys::Keys;
use crate::picture::{Picture, Pixel, Rows};
use crate::socket::DisplaySocket;

/// Most bytes of one piece of the picture. Every X server takes requests of 256 KiB.
const PIECE_BYTES_MAX: usize = 128 * 1024;
/// Bytes of one pixel at depth 24.
const PIXEL_BYTES: usize = 4;
/// The only depth that is drawn: 8 bits for each of three colors, in the lower 24 of 32.
const DEPTH: u8 = 24;
/// The number of the mouse's main button.
const MAIN_BUTTON: u8 = 1;
/// The five buttons in the state that `QueryPointer` gives (`Button1Mask` to `Button5Mask` of X.h).
const ALL_BUTTONS: u16 = 0x1F00;
/// Every workspace, of the extended window manager hints.
const ALL_DESKTOPS: u32 = u32::MAX;
/// What the window manager shows as the window's name.
const TITLE: &str = "qfilexchgd: transfer between VMs";
/// Instance and class of the window, each ended by a NUL (ICCCM 4.1.2.5).
const CLASS: &[u8] = b"dialog\0qfilexchgd\0";

x11rb::atom_manager! {
    /// The names that the window manager is told things by.
    Atoms: AtomsCookie {
        WM_PROTOCOLS,
        WM_DELETE_WINDOW,
        UTF8_STRING,
        _NET_WM_NAME,
        _NET_WM_WINDOW_TYPE,
        _NET_WM_WINDOW_TYPE_DIALOG,
        _NET_WM_STATE,
        _NET_WM_STATE_ABOVE,
        _NET_WM_STATE_STICKY,
        _NET_WM_STATE_DEMANDS_ATTENTION,
        _NET_WM_DESKTOP,
        _NET_WM_USER_TIME,
    }
}

/// Why the display cannot be used, or not any longer.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// It did not let us in.
    #[error("the display refuses the connection: {0}: does XAUTHORITY name the file of its cookie?")]
    Connect(#[from] ConnectError),
    /// It is gone, or stuck.
    #[error("the display is gone: {0}")]
    Gone(#[from] ConnectionError),
    /// It refused a request.
    #[error("the display refused a request: {0}")]
    Refused(#[from] ReplyError),
    /// It has no numbers left for a window.
    #[error("the display refused a request: {0}")]
    Id(#[from] ReplyOrIdError),
    /// It has no such screen, or one without 24 bits of color.
    #[error("the display has no screen of this number with 24 bits of true color")]
    NoScreen,
    /// Somebody has destroyed the window.
    #[error("the window was destroyed by somebody else")]
    Destroyed,
}

/// The window.
pub struct Screen {
    connection: RustConnection<DisplaySocket>,
    atoms: Atoms,
    keys: Keys,
    window: u32,
    context: u32,
    root: u32,
    is_mapped: bool,
    is_big_endian: bool,
}

impl Screen {
    /// Greets the display and makes a window, which is not shown yet.
    ///
    /// # Errors
    /// [`ScreenError`].
    pub fn open(
        socket: OwnedFd,
        cookie: Cookie,
        settings: &DialogSettings,
        picture: &Picture,
    ) -> Result<Self, ScreenError> {
        let number = usize::try_from(settings.screen).map_err(|_| ScreenError::NoScreen)?;
        let socket = DisplaySocket::new(socket);
        let connection =
            RustConnection::connect_to_stream_with_auth_info(socket, number, cookie.name, cookie.data)?;
        let setup = connection.setup();
        let (first, last) = (setup.min_keycode, setup.max_keycode);
        let is_big_endian = setup.image_byte_order == ImageOrder::MSB_FIRST;
        let screen =
            setup.roots.get(number).filter(|screen| is_true_color(screen)).ok_or(ScreenError::NoScreen)?;
        let (root, window) = (screen.root, create(&connection, screen, picture)?);
        let context = connection.generate_id()?;
        connection.create_gc(context, window, &CreateGCAux::new().graphics_exposures(0))?;
        let atoms = Atoms::new(&connection)?.reply()?;
        let mut made = Self {
            atoms,
            keys: Keys::default(),
            connection,
            window,
            context,
            root,
            is_mapped: false,
            is_big_endian,
        };
        made.name(picture)?;
        made.read_keys(first, last.saturating_sub(first).saturating_add(1))?;
        made.connection.flush()?;
        Ok(made)
    }

    /// Where events come from. There may be some that have been read already: [`Screen::event`] first.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.connection.stream().as_fd()
    }

    /// Shows the window or hides it.
    ///
    /// # Errors
    /// [`ScreenError`].
    pub fn show(&mut self, shown: bool) -> Result<(), ScreenError> {
        if shown == self.is_mapped {
            return Ok(());
        }
        self.is_mapped = shown;
        if shown {
            // A window manager takes these away when a window is hidden.
            self.ask_to_be_above()?;
            self.connection.map_window(self.window)?;
        } else {
            self.connection.unmap_window(self.window)?;
        }
        self.connection.flush()?;
        Ok(())
    }

    /// Draws rows of the picture.
    ///
    /// # Errors
    /// [`ScreenError`].
    pub fn put(&self, picture: &Picture, rows: Rows) -> Result<(), ScreenError> {
        if !self.is_mapped {
            return Ok(());
        }
        let row_bytes = usize::from(picture.width()) * PIXEL_BYTES;
        let piece_rows = u16::try_from((PIECE_BYTES_MAX / row_bytes.max(1)).max(1)).unwrap_or(u16::MAX);
        let (mut first, mut left) = (rows.first, rows.count);
        while left > 0 {
            let piece = Rows { first, count: left.min(piece_rows) };
            let bytes = self.bytes(picture.pixels(piece));
            let (width, y) = (picture.width(), i16::try_from(piece.first).unwrap_or(i16::MAX));
            self.connection.put_image(
                ImageFormat::Z_PIXMAP,
                self.window,
                self.context,
                width,
                piece.count,
                0,
                y,
                0,
                DEPTH,
                &bytes,
            )?;
            first = first.saturating_add(piece.count);
            left = left.saturating_sub(piece.count);
        }
        self.connection.flush()?;
        Ok(())
    }

    /// Whether no key and no button of the mouse is down, as the display itself knows it.
    ///
    /// # Errors
    /// [`ScreenError`].
    pub fn hands_are_free(&self) -> Result<bool, ScreenError> {
        let keys = self.connection.query_keymap()?;
        let pointer = self.connection.query_pointer(self.root)?;
        let no_key = keys.reply()?.keys.iter().all(|bits| *bits == 0);
        Ok(no_key && u16::from(pointer.reply()?.mask) & ALL_BUTTONS == 0)
    }

    /// The next event that means something, if one has come.
    ///
    /// # Errors
    /// [`ScreenError`], also when the display complains about a request.
    pub fn event(&mut self, picture: &Picture) -> Result<Option<Event>, ScreenError> {
        while let Some(event) = self.connection.poll_for_event()? {
            if let Some(event) = self.meaning(&event, picture)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn meaning(&mut self, event: &XEvent, picture: &Picture) -> Result<Option<Event>, ScreenError> {
        let is_sent = event.sent_event();
        #[expect(clippy::wildcard_enum_match_arm, reason = "X11 has more events than a window asks for")]
        let meaning = match event {
            XEvent::ClientMessage(message)
                if message.format == 32 && message.type_ == self.atoms.WM_PROTOCOLS =>
            {
                let [protocol, ..] = message.data.as_data32();
                (protocol == self.atoms.WM_DELETE_WINDOW).then_some(Event::Close)
            }
            XEvent::Error(error) => return Err(ReplyError::from(error.clone()).into()),
            _ if is_sent => None,
            XEvent::KeyPress(key) => Some(Event::Key(self.keys.meaning(key.detail, u16::from(key.state)))),
            XEvent::KeyRelease(_) => Some(Event::Key(Key::Other)),
            XEvent::ButtonPress(button) => Some(mouse(button, picture, Event::Pressed)),
            XEvent::ButtonRelease(button) => Some(mouse(button, picture, Event::Released)),
            XEvent::FocusIn(focus) => is_about_us(focus).then_some(Event::Focus(true)),
            XEvent::FocusOut(focus) => is_about_us(focus).then_some(Event::Focus(false)),
            XEvent::Expose(expose) => {
                let rows = Rows { first: expose.y, count: expose.height };
                self.put(picture, rows.within(picture))?;
                None
            }
            XEvent::MappingNotify(mapping) if mapping.request == Mapping::KEYBOARD => {
                let setup = self.connection.setup();
                let (first, last) = (setup.min_keycode, setup.max_keycode);
                self.read_keys(first, last.saturating_sub(first).saturating_add(1))?;
                None
            }
            XEvent::DestroyNotify(_) => return Err(ScreenError::Destroyed),
            _ => None,
        };
        Ok(meaning)
    }

    fn read_keys(&mut self, first: u8, count: u8) -> Result<(), ScreenError> {
        let table = self.connection.get_keyboard_mapping(first, count)?.reply()?;
        self.keys = Keys::new(first, table.keysyms_per_keycode, &table.keysyms);
        Ok(())
    }

    /// What the window manager is told once.
    fn name(&self, picture: &Picture) -> Result<(), ScreenError> {
        let (connection, window, atoms) = (&self.connection, self.window, &self.atoms);
        let replace = PropMode::REPLACE;
        connection.change_property8(replace, window, AtomEnum::WM_CLASS, AtomEnum::STRING, CLASS)?;
        connection.change_property8(
            replace,
            window,
            AtomEnum::WM_NAME,
            AtomEnum::STRING,
            TITLE.as_bytes(),
        )?;
        connection.change_property8(
            replace,
            window,
            atoms._NET_WM_NAME,
            atoms.UTF8_STRING,
            TITLE.as_bytes(),
        )?;
        let closing = [atoms.WM_DELETE_WINDOW];
        connection.change_property32(replace, window, atoms.WM_PROTOCOLS, AtomEnum::ATOM, &closing)?;
        let kind = [atoms._NET_WM_WINDOW_TYPE_DIALOG];
        connection.change_property32(replace, window, atoms._NET_WM_WINDOW_TYPE, AtomEnum::ATOM, &kind)?;
        let size = (i32::from(picture.width()), i32::from(picture.height()));
        let mut hints = WmSizeHints::new();
        hints.size = Some((WmSizeHintsSpecification::ProgramSpecified, size.0, size.1));
        (hints.min_size, hints.max_size) = (Some(size), Some(size));
        hints.set_normal_hints(connection, window)?;
        let mut hints = WmHints::new();
        (hints.input, hints.urgent) = (Some(true), true);
        hints.set(connection, window)?;
        Ok(())
    }

    /// Above the others, on every workspace, and without the focus: a user time of 0 says that nobody has asked for
    /// the window (`_NET_WM_USER_TIME`, extended window manager hints 1.5).
    fn ask_to_be_above(&self) -> Result<(), ScreenError> {
        let (connection, window, atoms) = (&self.connection, self.window, &self.atoms);
        let replace = PropMode::REPLACE;
        let states =
            [atoms._NET_WM_STATE_ABOVE, atoms._NET_WM_STATE_STICKY, atoms._NET_WM_STATE_DEMANDS_ATTENTION];
        connection.change_property32(replace, window, atoms._NET_WM_STATE, AtomEnum::ATOM, &states)?;
        let desktops = [ALL_DESKTOPS];
        connection.change_property32(
            replace,
            window,
            atoms._NET_WM_DESKTOP,
            AtomEnum::CARDINAL,
            &desktops,
        )?;
        connection.change_property32(replace, window, atoms._NET_WM_USER_TIME, AtomEnum::CARDINAL, &[0])?;
        Ok(())
    }

    /// The pixels in the display's own order.
    fn bytes(&self, pixels: &[Pixel]) -> Vec<u8> {
        let order = if self.is_big_endian { u32::to_be_bytes } else { u32::to_le_bytes };
        pixels.iter().flat_map(|pixel| order(pixel.0)).collect()
    }
}

fn create(
    connection: &RustConnection<DisplaySocket>,
    screen: &XScreen,
    picture: &Picture,
) -> Result<u32, ScreenError> {
    let window = connection.generate_id()?;
    let (width, height) = (picture.width(), picture.height());
    let middle = |whole: u16, part: u16| i16::try_from(whole.saturating_sub(part) / 2).unwrap_or_default();
    let events = EventMask::EXPOSURE
        | EventMask::FOCUS_CHANGE
        | EventMask::KEY_PRESS
        | EventMask::KEY_RELEASE
        | EventMask::BUTTON_PRESS
        | EventMask::BUTTON_RELEASE
        | EventMask::STRUCTURE_NOTIFY;
    connection.create_window(
        DEPTH,
        window,
        screen.root,
        middle(screen.width_in_pixels, width),
        middle(screen.height_in_pixels, height),
        width,
        height,
        0,
        WindowClass::INPUT_OUTPUT,
        screen.root_visual,
        &CreateWindowAux::new().event_mask(events).background_pixel(screen.black_pixel),
    )?;
    Ok(window)
}

/// Whether its windows have pixels as [`Pixel`] has them.
fn is_true_color(screen: &XScreen) -> bool {
    let visuals = screen.allowed_depths.iter().flat_map(|depth| &depth.visuals);
    let root = visuals.into_iter().find(|visual| visual.visual_id == screen.root_visual);
    screen.root_depth == DEPTH
        && root.is_some_and(|visual| {
            visual.class == VisualClass::TRUE_COLOR
                && (visual.red_mask, visual.green_mask, visual.blue_mask) == (0xFF_0000, 0xFF00, 0xFF)
        })
}

/// Where the pointer is says nothing about the keyboard, and it is told of in the same kind of event.
fn is_about_us(focus: &FocusInEvent) -> bool {
    focus.detail != NotifyDetail::POINTER
}

fn mouse(button: &ButtonPressEvent, picture: &Picture, event: fn(Option<Choice>) -> Event) -> Event {
    if button.detail == MAIN_BUTTON {
        event(picture.button_at(button.event_x, button.event_y))
    } else {
        Event::Key(Key::Other)
    }
}

impl Rows {
    /// Those of them that the picture has.
    fn within(self, picture: &Picture) -> Self {
        Self { first: self.first, count: self.count.min(picture.height().saturating_sub(self.first)) }
    }
}
