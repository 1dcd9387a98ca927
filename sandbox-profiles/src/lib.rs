//! The profile of each process, compiled from the files beside this crate at build time. README.md describes them.

use sys::profile::{
    FsAccess, Kind, Landlock, LandlockRule, Later, Limit, Namespaces, Profile, Resource, Rest, Root,
    SockFilter, Stdio, Syscall,
};

include!(concat!(env!("OUT_DIR"), "/profiles.rs"));
