//! How an image becomes something that a block back end can use: a loop device, or a plain path on the simulated host.

mod loops;

use std::os::fd::OwnedFd;

use protocol::attach::AttachFailure;
use protocol::settings::Backing as BackingSettings;
use protocol::types::ImageId;

use crate::images::Images;
use crate::name::FileName;
pub use loops::{Loops, LoopsError};

/// Begins `params` of a back end that is ours on a real host. The kernel's back end does not look at `params`.
const PARAMS_PREFIX: &str = "qfilexchg:";

/// What is written into the back end about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// `params`: names the image, so that a later life of this process finds it.
    pub params: String,
    /// How the back end gets at it.
    pub access: Access,
}

/// How a back end gets at an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// `physical-device`: major and minor number of the loop device, in hexadecimal.
    Device(String),
    /// `type` is `file`: by the path in `params`, on the simulated host.
    Path,
}

/// The way in which this host gives images to its block back end.
#[derive(Debug)]
pub enum Backing {
    /// Through loop devices.
    Loop(Loops),
    /// By path: the simulated host.
    File {
        /// The absolute path of the image directory.
        directory: String,
    },
}

impl Backing {
    /// As the settings say. `devices` is the directory of the loop devices, where there is one.
    ///
    /// # Errors
    /// [`LoopsError`].
    pub fn new(settings: BackingSettings, devices: Option<OwnedFd>) -> Result<Self, LoopsError> {
        match settings {
            BackingSettings::File { directory } => Ok(Self::File { directory }),
            BackingSettings::Loop { devices: count } => {
                Loops::open(devices.ok_or(LoopsError::NoDirectory)?, count).map(Self::Loop)
            }
        }
    }

    /// Makes an image usable for a back end. [`Backing::release`] undoes it.
    ///
    /// # Errors
    /// [`AttachFailure::NoLoopDevice`], [`AttachFailure::NoSuchImage`], [`AttachFailure::Io`].
    pub fn present(
        &mut self,
        images: &Images,
        image: ImageId,
        writable: bool,
    ) -> Result<Presented, AttachFailure> {
        match self {
            Self::Loop(loops) => {
                let file = images.open_image(image, writable)?;
                let access = Access::Device(loops.bind(image, &file, writable)?);
                Ok(Presented { params: format!("{PARAMS_PREFIX}{image}"), access })
            }
            Self::File { directory } => {
                drop(images.open_image(image, writable)?);
                let params = format!("{directory}/{}", FileName::Image(image).text());
                Ok(Presented { params, access: Access::Path })
            }
        }
    }

    /// Begins to undo [`Backing::present`] while the back end still uses it: what the kernel has to wait for then passes
    /// without anybody waiting. What fails here, [`Backing::release`] tries again.
    pub fn let_go(&self, image: ImageId) {
        match self {
            Self::Loop(loops) => loops.let_go(image),
            Self::File { .. } => {}
        }
    }

    /// Tries to undo [`Backing::present`], and says whether nothing of it is left. To be asked again until it is so:
    /// the back end in the kernel lets go of a block device only some time after its nodes are removed.
    ///
    /// # Errors
    /// [`AttachFailure::Io`].
    pub fn release(&mut self, image: ImageId) -> Result<bool, AttachFailure> {
        match self {
            Self::Loop(loops) => loops.release(image),
            Self::File { .. } => Ok(true),
        }
    }

    /// Images that are bound at this moment, whether or not a back end uses them.
    #[must_use]
    pub fn bound(&self) -> Vec<ImageId> {
        match self {
            Self::Loop(loops) => loops.bound(),
            Self::File { .. } => Vec::new(),
        }
    }

    /// The image that a back end's `params` names, if it is one of ours.
    #[must_use]
    pub fn image_of(&self, params: &[u8]) -> Option<ImageId> {
        let params = str::from_utf8(params).ok()?;
        match self {
            Self::Loop(_) => ImageId::from_hex(params.strip_prefix(PARAMS_PREFIX)?),
            Self::File { directory } => {
                let name = params.strip_prefix(directory.as_str())?.strip_prefix('/')?;
                match FileName::parse(name.as_bytes())? {
                    FileName::Image(image) => Some(image),
                    FileName::Spare(_) => None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_again_by_the_params_of_its_back_end_only() {
        let image = ImageId([0xC3; 16]);
        let backing = Backing::File { directory: "/srv/images".to_owned() };
        assert_eq!(backing.image_of(format!("/srv/images/{image}.img").as_bytes()), Some(image));
        for params in [
            String::new(),
            format!("/srv/images/{image}"),
            format!("/srv/images/spare-{image}.img"),
            format!("/srv/images//{image}.img"),
            format!("/srv/images2/{image}.img"),
            format!("/srv/other/{image}.img"),
            format!("qfilexchg:{image}"),
        ] {
            assert_eq!(backing.image_of(params.as_bytes()), None, "{params}");
        }
        assert_eq!(backing.image_of(b"/srv/images/\xff.img"), None);
    }
}
