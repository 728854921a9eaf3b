//! SIGINT and SIGTERM: the first ends the run in order, a second one at once.

use std::sync::{Arc, OnceLock};

use swaprig_scenarios::run::Interrupt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Exit;

/// What a signal has to do with a command.
pub(super) struct Signals {
    /// Raised by the first signal.
    pub interrupt: Interrupt,
    received: Arc<OnceLock<u8>>,
}

impl Signals {
    /// Listens from now on, inside a runtime. `save` is called at every signal, before anything else happens.
    pub(super) fn listen(save: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let (raise, interrupt) = Interrupt::new();
        let received = Arc::new(OnceLock::new());
        let (mut int, mut term) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        let first = received.clone();
        tokio::spawn(async move {
            let number = next(&mut int, &mut term).await;
            let _ = first.set(number);
            save();
            eprintln!("swaprig: interrupted; stopping the daemons (again to stop at once)");
            let _ = raise.send(true);
            let number = next(&mut int, &mut term).await;
            save();
            // Nothing is left running by that: every daemon dies with this process.
            std::process::exit(128 + i32::from(number));
        });
        Ok(Signals {
            interrupt,
            received,
        })
    }

    /// The exit that the first signal asks for, if there was one.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.received.get().map(|signal| Exit::Signalled(*signal))
    }
}

async fn next(int: &mut Signal, term: &mut Signal) -> u8 {
    const SIGINT: u8 = 2;
    const SIGTERM: u8 = 15;
    tokio::select! {
        _ = int.recv() => SIGINT,
        _ = term.recv() => SIGTERM,
    }
}
