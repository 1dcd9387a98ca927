//! A display of the test's own: Xvfb with a cookie, and xdotool for the person.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{AtomEnum, ClientMessageEvent, ConnectionExt, EventMask, ImageFormat};
use x11rb::rust_connection::{DefaultStream, RustConnection};

use crate::WAIT;

/// What the tests need, of Debian's packages xvfb and xdotool.
pub const TOOLS: [&str; 2] = ["Xvfb", "xdotool"];

pub const COOKIE: [u8; 16] = *b"sixteen bytes...";

pub struct Display {
    server: Child,
    pub number: u32,
    directory: TempDir,
}

/// Red, green and blue of each pixel, from left to right and top to bottom.
pub struct Shot {
    pub width: u32,
    pub height: u32,
    pub rgb: Vec<u8>,
}

impl Display {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut entry = 65_535_u16.to_be_bytes().to_vec();
        for string in [b"".as_slice(), b"", b"MIT-MAGIC-COOKIE-1", &COOKIE] {
            entry.extend(u16::try_from(string.len()).unwrap().to_be_bytes());
            entry.extend(string);
        }
        std::fs::write(directory.path().join("cookie"), entry).unwrap();
        let mut server = Command::new(testkit::tool("Xvfb").unwrap())
            .args(["-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp", "-noreset", "-auth"])
            .arg(directory.path().join("cookie"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let number = line.trim().parse().expect("Xvfb says its number");
        Self { server, number, directory }
    }

    pub fn socket(&self) -> OwnedFd {
        UnixStream::connect(format!("/tmp/.X11-unix/X{}", self.number)).unwrap().into()
    }

    pub fn cookie_path(&self) -> PathBuf {
        self.directory.path().join("cookie")
    }

    pub fn cookie_file(&self) -> File {
        File::open(self.cookie_path()).unwrap()
    }

    /// What xdotool prints, and whether it succeeded.
    pub fn try_xdotool(&self, words: &str) -> (String, bool) {
        let output = Command::new(testkit::tool("xdotool").unwrap())
            .args(words.split_whitespace())
            .env("DISPLAY", format!(":{}", self.number))
            .env("XAUTHORITY", self.cookie_path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (String::from_utf8(output.stdout).unwrap().trim().to_owned(), output.status.success())
    }

    pub fn xdotool(&self, words: &str) -> String {
        let (text, is_good) = self.try_xdotool(words);
        assert!(is_good, "xdotool {words}");
        text
    }

    /// The dialog's window, if it is shown.
    pub fn window(&self) -> Option<u32> {
        self.try_xdotool("search --onlyvisible --class qfilexchgd").0.parse().ok()
    }

    pub fn wait_for_window(&self, shown: bool) -> u32 {
        let deadline = std::time::Instant::now() + WAIT;
        loop {
            let window = self.window();
            if window.is_some() == shown {
                return window.unwrap_or_default();
            }
            assert!(std::time::Instant::now() < deadline, "shown: {window:?}, wanted: {shown}");
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
    }

    fn connect(&self) -> RustConnection {
        let stream = UnixStream::connect(format!("/tmp/.X11-unix/X{}", self.number)).unwrap();
        let (stream, _) = DefaultStream::from_unix_stream(stream).unwrap();
        let name = b"MIT-MAGIC-COOKIE-1".to_vec();
        RustConnection::connect_to_stream_with_auth_info(stream, 0, name, COOKIE.to_vec()).unwrap()
    }

    /// Asks the window to close, as a window manager does.
    pub fn ask_to_close(&self, window: u32) {
        let connection = self.connect();
        let atom = |name: &[u8]| connection.intern_atom(false, name).unwrap().reply().unwrap().atom;
        let data = [atom(b"WM_DELETE_WINDOW"), 0, 0, 0, 0];
        let event = ClientMessageEvent::new(32, window, atom(b"WM_PROTOCOLS"), data);
        connection.send_event(false, window, EventMask::NO_EVENT, event).unwrap().check().unwrap();
    }

    /// The numbers of a property of 32 bits.
    pub fn property(&self, window: u32, name: &str) -> Vec<u32> {
        let connection = self.connect();
        let atom = connection.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom;
        let reply =
            connection.get_property(false, window, atom, AtomEnum::ANY, 0, 64).unwrap().reply().unwrap();
        reply.value32().into_iter().flatten().collect()
    }

    pub fn atom(&self, name: &str) -> u32 {
        self.connect().intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom
    }

    pub fn shot(&self, window: u32) -> Shot {
        let connection = self.connect();
        let place = connection.get_geometry(window).unwrap().reply().unwrap();
        let (width, height) = (place.width, place.height);
        let image = connection
            .get_image(ImageFormat::Z_PIXMAP, window, 0, 0, width, height, u32::MAX)
            .unwrap()
            .reply()
            .unwrap();
        assert_eq!(connection.setup().image_byte_order, x11rb::protocol::xproto::ImageOrder::LSB_FIRST);
        let rgb = image.data.chunks_exact(4).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect();
        Shot { width: width.into(), height: height.into(), rgb }
    }

    pub fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Shot {
    pub fn colors(&self) -> usize {
        self.rgb.chunks_exact(3).collect::<std::collections::BTreeSet<_>>().len()
    }

    pub fn has(&self, color: [u8; 3]) -> bool {
        self.rgb.chunks_exact(3).any(|pixel| pixel == color)
    }

    pub fn write(&self, path: &std::path::Path) {
        let mut encoder = png::Encoder::new(File::create(path).unwrap(), self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::High);
        encoder.write_header().unwrap().write_image_data(&self.rgb).unwrap();
    }
}
