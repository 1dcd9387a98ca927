//! The picture of the window: what the person sees as text and colors, drawn by Slint into memory.

use std::rc::Rc;
use std::time::{Duration, Instant};

use dialog::window::{Buttons, Choice, View};
use dialog_ui::{Colors, DialogWindow, Recipient as Card};
use protocol::dialog::{Notice, Question, QuestionKind, Recipient};
use protocol::settings::{DialogSettings, Label, Scale, Theme};
use protocol::types::VmName;
use slint::platform::software_renderer::{
    MinimalSoftwareWindow, PremultipliedRgbaColor, RepaintBufferType, TargetPixel,
};
use slint::platform::{Platform, WindowAdapter, WindowEvent};
use slint::{Color, ComponentHandle, PhysicalSize, PlatformError, SharedString};

/// Size of the window in units of length, as `ui/dialog.slint` has it.
const WIDTH: u16 = 600;
/// See [`WIDTH`].
const HEIGHT: u16 = 372;
/// Longest name in large letters, in characters. The longest that there is fits in small ones.
const LARGE_NAME_CHARACTERS_MAX: usize = 42;

/// A pixel as a display of 24 bits has it: `0x00RRGGBB`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pixel(pub u32);

impl TargetPixel for Pixel {
    fn blend(&mut self, color: PremultipliedRgbaColor) {
        let under = u32::from(u8::MAX - color.alpha);
        let blend = |shift: u32, over: u8| {
            let mixed = (self.0 >> shift & 0xFF) * under / 255 + u32::from(over);
            mixed.min(255) << shift
        };
        self.0 = blend(16, color.red) | blend(8, color.green) | blend(0, color.blue);
    }

    fn from_rgb(red: u8, green: u8, blue: u8) -> Self {
        Self(u32::from_be_bytes([0, red, green, blue]))
    }
}

/// Slint's platform: one window without a system behind it, and a clock.
struct Memory {
    window: Rc<MinimalSoftwareWindow>,
    started: Instant,
}

impl Platform for Memory {
    fn create_window_adapter(&self) -> Result<Rc<dyn WindowAdapter>, PlatformError> {
        Ok(self.window.clone())
    }

    fn duration_since_start(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The picture, and the component that it shows.
pub struct Picture {
    window: Rc<MinimalSoftwareWindow>,
    component: DialogWindow,
    settings: DialogSettings,
    factor: u16,
    pixels: Vec<Pixel>,
}

/// Rows of the picture that have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// The first one.
    pub first: u16,
    /// How many.
    pub count: u16,
}

impl Picture {
    /// Makes the only picture of this process.
    ///
    /// # Errors
    /// Slint's, of which none is known.
    pub fn new(settings: DialogSettings) -> Result<Self, PlatformError> {
        let window = MinimalSoftwareWindow::new(RepaintBufferType::ReusedBuffer);
        let memory = Memory { window: window.clone(), started: Instant::now() };
        slint::platform::set_platform(Box::new(memory))
            .map_err(|error| PlatformError::Other(error.to_string()))?;
        let component = DialogWindow::new()?;
        let factor = match settings.scale {
            Scale::Single => 1,
            Scale::Double => 2,
        };
        component.global::<Colors>().set_dark(settings.theme == Theme::Dark);
        let scale_factor = f32::from(factor);
        window.dispatch_event_with_result(WindowEvent::ScaleFactorChanged { scale_factor })?;
        let (width, height) = (WIDTH * factor, HEIGHT * factor);
        window.set_size(PhysicalSize::new(width.into(), height.into()));
        component.show()?;
        let pixels = vec![Pixel::default(); usize::from(width) * usize::from(height)];
        Ok(Self { window, component, settings, factor, pixels })
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u16 {
        WIDTH * self.factor
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u16 {
        HEIGHT * self.factor
    }

    /// The pixels of these rows, from left to right and from top to bottom.
    #[must_use]
    pub fn pixels(&self, rows: Rows) -> &[Pixel] {
        let width = usize::from(self.width());
        let (first, count) = (usize::from(rows.first) * width, usize::from(rows.count) * width);
        self.pixels.get(first..first.saturating_add(count)).unwrap_or_default()
    }

    /// Draws this, and says which rows have changed.
    pub fn draw(&mut self, view: &View) -> Option<Rows> {
        match view {
            View::Nothing => return None,
            View::Question { question, waiting, age_s, left_s, left_permille, buttons } => {
                self.show_question(question, *waiting, *age_s, *left_s);
                self.show_rest(*left_permille, *buttons);
            }
            View::Notice { notice, left_s, left_permille, buttons } => {
                self.show_notice(notice, *left_s);
                self.show_rest(*left_permille, *buttons);
            }
        }
        slint::platform::update_timers_and_animations();
        let stride = usize::from(self.width());
        let (pixels, mut drawn) = (&mut self.pixels, None);
        self.window.draw_if_needed(|renderer| {
            let region = renderer.render(pixels, stride);
            let (top, height) = (region.bounding_box_origin().y, region.bounding_box_size().height);
            drawn = u16::try_from(top).ok().zip(u16::try_from(height).ok());
        });
        drawn.map(|(first, count)| Rows { first, count }).filter(|rows| rows.count > 0)
    }

    /// Which button is at this place, in pixels from the window's top left.
    #[must_use]
    pub fn button_at(&self, x: i16, y: i16) -> Option<Choice> {
        let factor = f32::from(self.factor);
        let (x, y) = (f32::from(x) / factor, f32::from(y) / factor);
        let all = &self.component;
        let hits = |left: f32, top: f32, width: f32, height: f32| {
            (left..left + width).contains(&x) && (top..top + height).contains(&y)
        };
        if hits(all.get_yes_x(), all.get_yes_y(), all.get_yes_width(), all.get_yes_height()) {
            Some(Choice::Yes)
        } else if hits(all.get_no_x(), all.get_no_y(), all.get_no_width(), all.get_no_height()) {
            Some(Choice::No)
        } else {
            None
        }
    }

    fn show_question(&self, question: &Question, waiting: usize, age_s: u64, left_s: u64) {
        let window = &self.component;
        let (headline, explanation, yes) = match question.kind {
            QuestionKind::Transfer => {
                ("Allow this transfer?", "A VM wants to send its pendrive to another one.", "Yes, send")
            }
            QuestionKind::WaitForReceiver => (
                "Wait for the receiver?",
                "The receiver still holds an earlier pendrive. This one can wait until it lets that go.",
                "Yes, wait",
            ),
        };
        window.set_is_question(true);
        window.set_headline(headline.into());
        window.set_explanation(explanation.into());
        window.set_waiting(waiting_text(waiting));
        window.set_source(self.vm_card(&question.source));
        window.set_target(match &question.target {
            Recipient::Vm(name) => self.vm_card(name),
            disposable @ Recipient::NewDisposable => Card {
                name: disposable.to_string().into(),
                label: "made for this transfer, destroyed afterwards".into(),
                ..Card::default()
            },
        });
        window.set_size(format!("{} of {} MiB used", question.used_mib, question.size_mib).into());
        window.set_age(if age_s == 0 {
            "just now".into()
        } else {
            format!("{} ago", duration(age_s)).into()
        });
        window.set_rule(question.rule.as_str().into());
        window.set_countdown(format!("No answer within {} means no.", duration(left_s)).into());
        window.set_yes_label(yes.into());
        window.set_no_label("No".into());
    }

    fn show_notice(&self, notice: &Notice, left_s: u64) {
        let window = &self.component;
        let headline = match notice {
            Notice::Decided { allowed: true, .. } => "Allowed by the policy",
            Notice::Decided { allowed: false, .. } => "Denied by the policy",
            Notice::CreationFailed { .. } => "No DisposableVM",
            Notice::TemplateBeingRebuilt => "Please wait",
        };
        window.set_is_question(false);
        window.set_headline(headline.into());
        window.set_waiting(SharedString::default());
        window.set_explanation(SharedString::default());
        window.set_notice(capitalized(&format!("{}.", dialog::text::notice_sentence(notice))).into());
        window.set_countdown(format!("Closes in {}.", duration(left_s)).into());
        window.set_no_label("Close".into());
    }

    fn show_rest(&self, left_permille: u64, buttons: Buttons) {
        let window = &self.component;
        let thousandths = u16::try_from(left_permille).unwrap_or(1000);
        window.set_time_left(f32::from(thousandths) / 1000.0);
        window.set_hint(hint(buttons).into());
        window.set_armed(buttons.armed);
        window.set_yes_focused(buttons.focus == Choice::Yes);
        window.set_yes_pressed(buttons.pressed == Some(Choice::Yes));
        window.set_no_pressed(buttons.pressed == Some(Choice::No));
    }

    fn vm_card(&self, name: &VmName) -> Card {
        let label =
            self.settings.labels.iter().find(|(labelled, _)| labelled == name).map(|(_, label)| *label);
        Card {
            name: name.as_str().into(),
            is_vm: true,
            is_long: name.as_str().len() > LARGE_NAME_CHARACTERS_MAX,
            label: label
                .map_or("no label configured".into(), |label| format!("label {}", label.name()).into()),
            has_label: label.is_some(),
            color: label.map_or_else(Color::default, color),
        }
    }
}

fn waiting_text(waiting: usize) -> SharedString {
    if waiting == 0 { SharedString::default() } else { format!("{waiting} more waiting").into() }
}

/// A sentence that begins with a VM's name begins as that does.
fn capitalized(sentence: &str) -> String {
    match sentence.strip_prefix("the") {
        Some(rest) => format!("The{rest}"),
        None => sentence.to_owned(),
    }
}

/// Why the buttons do not work yet.
fn hint(buttons: Buttons) -> &'static str {
    match (buttons.armed, buttons.has_focus) {
        (true, _) => "",
        (false, true) => "Keys and buttons work after a second without any.",
        (false, false) => "Click into this window to answer.",
    }
}

/// Seconds as a person says them.
fn duration(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5999 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// The colors of Qubes OS's labels.
fn color(label: Label) -> Color {
    let (red, green, blue) = match label {
        Label::Red => (0xCC, 0x00, 0x00),
        Label::Orange => (0xF5, 0x79, 0x00),
        Label::Yellow => (0xED, 0xD4, 0x00),
        Label::Green => (0x73, 0xD2, 0x16),
        Label::Gray => (0x55, 0x57, 0x53),
        Label::Blue => (0x34, 0x65, 0xA4),
        Label::Purple => (0x75, 0x50, 0x7B),
        Label::Black => (0x00, 0x00, 0x00),
    };
    Color::from_rgb_u8(red, green, blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_at_every_length() {
        for (seconds, text) in [
            (0, "0 s"),
            (1, "1 s"),
            (99, "99 s"),
            (100, "1 min"),
            (5999, "99 min"),
            (6000, "1 h"),
            (86_400, "24 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn a_pixel_is_mixed_by_the_cover_of_what_is_over_it() {
        let half = PremultipliedRgbaColor { red: 100, green: 0, blue: 50, alpha: 128 };
        let mut pixel = Pixel::from_rgb(0, 200, 255);
        pixel.blend(half);
        assert_eq!(pixel, Pixel::from_rgb(100, 99, 177));
        pixel.blend(PremultipliedRgbaColor { red: 1, green: 2, blue: 3, alpha: 255 });
        assert_eq!(pixel, Pixel(0x0001_0203));
    }
}
