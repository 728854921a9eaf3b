//! The one thread that forks.
//!
//! On Linux a child asks the kernel for SIGKILL when its parent dies. That signal follows the *thread* that forked, not
//! the process, and threads of a thread pool end when idle. So one thread does all the forking and never ends. Elsewhere
//! the bundled daemons notice that their standard input was closed (see `Stdin::Lifeline`).

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;

/// One child to start, and where the answer goes.
struct Request {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

/// Starts `command` as the leader of a new process group, tied to the life of this process.
pub(super) fn spawn(mut command: Command) -> io::Result<Child> {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0);
    spawn_in_our_group(command)
}

/// Starts `command` in this process's own group, tied to its life.
pub(super) fn spawn_in_our_group(
    #[cfg_attr(
        not(target_os = "linux"),
        expect(unused_mut, reason = "Linux changes it")
    )]
    mut command: Command,
) -> io::Result<Child> {
    #[cfg(target_os = "linux")]
    die_with_parent(&mut command);

    let (reply, answer) = channel();
    // The receiver lives as long as the process, and a request is answered before the next one is taken.
    let gone = |_| io::Error::other("the thread that starts processes is gone");
    requests()
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .send(Request { command, reply })
        .map_err(|_| gone(()))?;
    answer.recv().map_err(|_| gone(()))?
}

fn requests() -> &'static Mutex<Sender<Request>> {
    static REQUESTS: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    REQUESTS.get_or_init(|| {
        let (sender, receiver) = channel::<Request>();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for Request { mut command, reply } in receiver {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "the one place that starts daemons"
                    )]
                    let child = command.spawn();
                    // Whoever asked may have given up; then the child has no guard and must not live on.
                    if let Err(unwanted) = reply.send(child)
                        && let Ok(mut child) = unwanted.0
                    {
                        let _ = child.kill();
                        let _ = child.wait();
                    }
                }
            })
            .expect("a thread can be started");
        Mutex::new(sender)
    })
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
    use std::os::unix::process::CommandExt as _;
    let parent = getpid();
    // SAFETY: between fork and exec only these two system calls are made; both are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the request reached the kernel.
            if getppid() == Some(parent) {
                Ok(())
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        });
    }
}
