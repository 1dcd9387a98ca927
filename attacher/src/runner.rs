//! Running the toolstack's commands: whatever is asked for, it is one of these few, and a VM is a number in it.
//!
//! One [`Job`] is one run of a command. The jobs of a launcher end with it, and those that were told to end are kept
//! until the kernel says that they have.

mod job;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use protocol::channel::{Channel, ChannelError};
use protocol::runner::{
    Command, JOBS_MAX, JobId, Modified, NAME_MARK, RunEnd, RunReply, RunRequest, RunnerNotice, RunnerSettings,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use job::Job;

/// The whole environment of a command.
const ENVIRONMENT: [&str; 2] =
    ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"];
/// Most messages that are taken in before anything else is looked at.
const MESSAGES_PER_TURN_MAX: usize = 16;

/// The edge to dvm-launcher.
type Launcher = Channel<RunReply, RunRequest>;
/// The edge to the supervisor, which hears nothing.
type Supervisor = Channel<(), RunnerNotice>;

/// Everything that the process has.
#[derive(Debug)]
pub struct Runner {
    settings: RunnerSettings,
    null: OwnedFd,
    supervisor: Supervisor,
    launcher: Option<Launcher>,
    jobs: BTreeMap<JobId, Job>,
    /// Those of launchers that are gone: nobody is told of their end.
    orphans: Vec<Job>,
}

/// Why a launcher is done with.
enum Done {
    /// It is gone, or what it says does not decode.
    Edge,
    /// It asked for what no launcher asks for.
    Breach,
}

impl From<ChannelError> for Done {
    fn from(_: ChannelError) -> Self {
        Self::Edge
    }
}

impl Runner {
    /// Begins without a launcher.
    ///
    /// # Errors
    /// `/dev/null` cannot be opened.
    pub fn new(supervisor: OwnedFd, settings: RunnerSettings) -> Result<Self, Errno> {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let supervisor = Channel::new(supervisor);
        Ok(Self { settings, null, supervisor, launcher: None, jobs: BTreeMap::new(), orphans: Vec::new() })
    }

    /// Runs until the supervisor is gone. Every command has been told to end then.
    pub fn run(mut self) {
        while self.turn().is_ok() {}
        self.end_all();
    }

    fn turn(&mut self) -> Result<(), ChannelError> {
        self.wait()?;
        while let Some((RunnerNotice::NewLauncher, edge)) = self.supervisor.receive_with()? {
            self.end_all();
            self.launcher = edge.map(Channel::new);
        }
        if self.serve_launcher().is_err() {
            self.launcher = None;
            self.end_all();
        }
        self.orphans.retain_mut(|job| job.poll().is_none());
        Ok(())
    }

    fn wait(&self) -> Result<(), Errno> {
        let mut waiting = vec![PollFd::new(&self.supervisor, PollFlags::IN)];
        if let Some(launcher) = &self.launcher {
            let out = if launcher.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
            waiting.push(PollFd::from_borrowed_fd(launcher.as_fd(), PollFlags::IN | out));
        }
        let jobs = self.jobs.values().chain(&self.orphans);
        waiting.extend(jobs.flat_map(Job::descriptors).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut waiting, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Every command is told to end, and its end is nobody's business any more.
    fn end_all(&mut self) {
        let jobs = std::mem::take(&mut self.jobs);
        self.orphans.extend(jobs.into_values());
        self.orphans.iter().for_each(Job::end);
    }

    fn serve_launcher(&mut self) -> Result<(), Done> {
        for _ in 0..MESSAGES_PER_TURN_MAX {
            let Some(launcher) = &mut self.launcher else { return Ok(()) };
            launcher.flush()?;
            let Some(request) = launcher.receive()? else { break };
            self.asked(request)?;
        }
        let mut ended = Vec::new();
        self.jobs.retain(|id, job| match job.poll() {
            None => true,
            Some((how, output)) => {
                ended.push(RunReply::Ended { job: *id, how, output });
                false
            }
        });
        ended.iter().try_for_each(|reply| self.tell(reply))
    }

    fn asked(&mut self, request: RunRequest) -> Result<(), Done> {
        match request {
            RunRequest::Start { job, command } => self.start(job, command),
            RunRequest::End { job } => {
                // One that has ended by itself meanwhile is not there any more.
                self.jobs.get(&job).into_iter().for_each(Job::end);
                Ok(())
            }
            RunRequest::Look => {
                let template = modified(&self.settings.template);
                let base = modified(&self.settings.base);
                self.tell(&RunReply::Seen { template, base })
            }
        }
    }

    fn tell(&mut self, reply: &RunReply) -> Result<(), Done> {
        Ok(self.launcher.as_mut().map_or(Ok(()), |launcher| launcher.send(reply))?)
    }

    fn start(&mut self, id: JobId, command: Command) -> Result<(), Done> {
        let running = self.jobs.len().saturating_add(self.orphans.len());
        let words = words(&self.settings, command);
        let Some((program, args)) = words.split_first() else { return Err(Done::Breach) };
        if self.jobs.contains_key(&id) {
            return Err(Done::Breach);
        }
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        let environment = ENVIRONMENT.map(OsStr::new);
        let started = if running < JOBS_MAX {
            Job::start(program, &args, &environment, self.null.as_fd())
        } else {
            // Commands that do not end although they were told to take up places, too.
            Err(Errno::AGAIN)
        };
        match started {
            Ok(job) => {
                self.jobs.insert(id, job);
                Ok(())
            }
            Err(errno) => {
                let how = RunEnd::NotStarted(errno.raw_os_error());
                self.tell(&RunReply::Ended { job: id, how, output: Default::default() })
            }
        }
    }
}

/// The words of a command. The name of a VM is made here, of its number.
fn words(settings: &RunnerSettings, command: Command) -> Vec<String> {
    let (words, number) = match command {
        Command::Create { number } => (&settings.create, Some(number)),
        Command::Destroy { number } => (&settings.destroy, Some(number)),
        Command::Exists { number } => (&settings.exists, Some(number)),
        Command::Rebuild => (&settings.rebuild, None),
        Command::FreeMemory => (&settings.free_memory, None),
    };
    let Some((program, args)) = words.split_first() else { return Vec::new() };
    let named = args.iter().map(|word| match number {
        Some(number) => word.replace(NAME_MARK, &number.to_string()),
        None => word.clone(),
    });
    std::iter::once(program.clone()).chain(named).collect()
}

/// When a file was changed last. One that cannot be looked at is not there.
fn modified(path: &str) -> Option<Modified> {
    let file = Path::new(path).metadata().ok().filter(|_| !path.is_empty())?;
    Some(Modified(file.mtime(), u32::try_from(file.mtime_nsec()).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use protocol::launch::{DISPOSABLE_NUMBER_MAX, DisposableNumber};

    use super::*;

    #[test]
    fn only_the_mark_is_replaced_also_within_a_word_and_never_in_the_program() {
        let text = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let settings = RunnerSettings {
            create: text(&["/c{name}", "name=\"{name}\"", "{name}{name}", "{other} $name {}", ""]),
            rebuild: text(&["/r", "{name}"]),
            ..RunnerSettings::default()
        };
        for number in [1, DISPOSABLE_NUMBER_MAX] {
            let number = DisposableNumber::new(number).unwrap();
            let named = format!("name=\"{number}\"");
            let twice = format!("{number}{number}");
            let expected = ["/c{name}", named.as_str(), twice.as_str(), "{other} $name {}", ""];
            assert_eq!(words(&settings, Command::Create { number }), expected);
            assert!(words(&settings, Command::Destroy { number }).is_empty());
        }
        assert_eq!(words(&settings, Command::Rebuild), ["/r", "{name}"]);
        assert!(words(&settings, Command::FreeMemory).is_empty());
    }

    #[test]
    fn a_file_that_is_missing_or_not_named_has_no_age() {
        assert!(modified("").is_none());
        assert!(modified("/nowhere/at/all").is_none());
        assert!(modified("/dev/null").is_some());
    }
}
