//! `swaprig status` on a terminal: the world, looked at every second, until somebody leaves.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::control::{Answer, Question, Request};
use super::exit::complain;
use super::remote::exchange;
use super::status_text::{Paint, header, lines};
use super::up::{Standing, is_up};
use super::{Exit, runtime};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// How long a key is waited for before the screen is drawn again.
const KEY: Duration = Duration::from_millis(100);
/// An answer older than this is called old.
const OLD: Duration = Duration::from_secs(3);

/// What is on the screen.
struct View {
    number: u32,
    state: Value,
    looked: Instant,
    trouble: Option<String>,
    /// The first line that is shown.
    top: usize,
    paint: Paint,
}

/// What ends the view, beside a key.
struct Ended {
    /// Locked as long as the world stands.
    state_file: PathBuf,
    /// A signal came, which must not leave the terminal as it is.
    signalled: Arc<AtomicBool>,
    /// Waits for the signals.
    _runtime: Runtime,
}

impl Ended {
    fn watch(state_file: &Path) -> std::io::Result<Self> {
        let runtime = runtime();
        let (mut term, mut hup) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            )
        };
        let signalled = Arc::new(AtomicBool::new(false));
        let came = signalled.clone();
        runtime.spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = hup.recv() => {}
            }
            came.store(true, Ordering::Relaxed);
        });
        Ok(Ended {
            state_file: state_file.to_owned(),
            signalled,
            _runtime: runtime,
        })
    }
}

/// Shows the world until `q`, Esc or Ctrl-C, or its end.
pub(super) fn live(standing: &Standing, colour: bool) -> Exit {
    let (tell, answers) = mpsc::channel();
    let (leave, left) = mpsc::channel();
    let socket = standing.socket.clone();
    let looker = thread::Builder::new().name("look".into());
    if let Err(error) = looker.spawn(move || look(&socket, &tell, &left)) {
        complain(&error);
        return Exit::Environment;
    }
    // The first answer comes before the screen is taken, so that an error stays readable.
    let state = match answers.recv() {
        Ok(Ok(state)) => state,
        Ok(Err(why)) => {
            eprintln!("swaprig: {why}");
            return Exit::Environment;
        }
        Err(_) => return Exit::Environment,
    };
    let view = View {
        number: standing.number,
        state,
        looked: Instant::now(),
        trouble: None,
        top: 0,
        paint: Paint { colour },
    };
    let ended = Ended::watch(&standing.socket.with_extension("json"));
    let shown = ended.and_then(|ended| show(view, &answers, &ended));
    drop(leave);
    match shown {
        Ok(true) => {
            println!("world {} has ended", standing.number);
            Exit::Passed
        }
        Ok(false) => Exit::Passed,
        Err(error) => {
            complain(&error);
            Exit::Environment
        }
    }
}

/// Asks the world again and again, until nobody listens.
fn look(socket: &Path, tell: &Sender<Result<Value, String>>, left: &Receiver<()>) {
    loop {
        let answer = match exchange(socket, &Request::Ask(Question::Status {})) {
            Ok(Answer::Ok(state)) => Ok(state),
            Ok(Answer::Error(why)) => Err(why),
            Err(error) => Err(format!("the world does not answer: {error}")),
        };
        if tell.send(answer).is_err() || left.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout)
        {
            return;
        }
    }
}

/// Takes the terminal and gives it back, also after a panic; whether the world has ended.
fn show(
    mut view: View,
    answers: &Receiver<Result<Value, String>>,
    ended: &Ended,
) -> std::io::Result<bool> {
    let mut terminal = ratatui::try_init()?;
    let mut changed = true;
    let left = loop {
        if ended.signalled.load(Ordering::Relaxed) {
            break Ok(false);
        }
        for answer in answers.try_iter() {
            changed = true;
            match answer {
                Ok(state) => {
                    (view.state, view.looked, view.trouble) = (state, Instant::now(), None);
                }
                Err(why) => view.trouble = Some(why),
            }
        }
        if view.trouble.is_some() && !is_up(&ended.state_file) {
            break Ok(true);
        }
        // How old an old answer is, changes by itself.
        if (changed || view.is_old())
            && let Err(error) = terminal.draw(|frame| view.draw(frame))
        {
            break Err(error);
        }
        match pressed(&mut view) {
            Ok(ControlFlow::Continue(event)) => changed = event,
            Ok(ControlFlow::Break(())) => break Ok(false),
            Err(error) => break Err(error),
        }
    };
    ratatui::restore();
    left
}

/// Waits a moment for a key; whether something happened, or to leave.
fn pressed(view: &mut View) -> std::io::Result<ControlFlow<(), bool>> {
    if !event::poll(KEY)? {
        return Ok(ControlFlow::Continue(false));
    }
    // Anything else is a new size.
    let Event::Key(key) = event::read()? else {
        return Ok(ControlFlow::Continue(true));
    };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        _ if key.kind == KeyEventKind::Release => {}
        KeyCode::Char('c') if control => return Ok(ControlFlow::Break(())),
        KeyCode::Char('q') | KeyCode::Esc => return Ok(ControlFlow::Break(())),
        KeyCode::Down | KeyCode::Char('j') => view.top += 1,
        KeyCode::Up | KeyCode::Char('k') => view.top = view.top.saturating_sub(1),
        _ => {}
    }
    Ok(ControlFlow::Continue(true))
}

impl View {
    fn is_old(&self) -> bool {
        self.looked.elapsed() > OLD
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let parts = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(0),
            Constraint::Length(1),
        ]);
        let [top, middle, bottom] = parts.areas(frame.area());
        let width = usize::from(frame.area().width);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let title = header(self.number, &self.state, width);
        frame.render_widget(Line::styled(title, bold), top);
        let lines = lines(&self.state, width, self.paint);
        let room = usize::from(middle.height);
        self.top = self.top.min(lines.len().saturating_sub(room));
        let below = lines.len().saturating_sub(self.top + room);
        let shown: Vec<Line<'_>> = lines.into_iter().skip(self.top).take(room).collect();
        frame.render_widget(Paragraph::new(shown), middle);
        let dim = Style::new().add_modifier(Modifier::DIM);
        frame.render_widget(Line::styled(self.footer(below), dim), bottom);
    }

    fn footer(&self, below: usize) -> String {
        let mut text = "q leaves".to_owned();
        if below > 0 || self.top > 0 {
            text.push_str(&format!(" · ↑↓ {below} more below"));
        }
        match &self.trouble {
            Some(why) => text.push_str(&format!(" · {why}")),
            None if self.is_old() => {
                let age = self.looked.elapsed().as_secs();
                text.push_str(&format!(" · as of {age} s ago"));
            }
            None => {}
        }
        text
    }
}
