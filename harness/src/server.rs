//! The driver of a server that this project knows nothing of: a command line with endpoints filled in, a way to tell
//! that it is ready, kill and restart.

use std::ffi::OsString;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost_reflect::DescriptorPool;

use crate::daemon::{StartError, port_lost, ports_taken, wait_ready};
use crate::grpc::{self, NoHealth, Target};
use crate::http::{self, Request};
use crate::port::PortClaim;
use crate::process::{Exit, LogFiles, Running, Spec, Stdin, Stopped};
use crate::proxy::{Kind, ServerEnd};
use crate::template::Template;
use crate::time::{Deadline, Probe};

/// How long a server has to end after SIGTERM, before SIGKILL.
pub const GRACE: Duration = Duration::from_secs(10);
/// How long one look at whether it is ready may take.
const LOOK: Duration = Duration::from_secs(2);

/// A server to start in a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Its name, unlike every other of the world.
    pub name: String,
    /// The program, then its arguments.
    pub run: Vec<Template>,
    /// Variables of its environment.
    pub env: Vec<(String, Template)>,
    /// How it shows that it is ready.
    pub ready: Ready,
    /// The messages of its gRPC API; `None` when it has none or tells them by reflection.
    pub api: Option<DescriptorPool>,
    /// The certificate (PEM) that it shows at `{listen}`; `None` when its connections are not encrypted.
    pub tls: Option<Template>,
}

impl ServerSpec {
    /// It as the end of a link.
    pub fn end(&self) -> ServerEnd {
        ServerEnd {
            name: self.name.clone(),
            speaks: Kind::of_server(
                self.api.is_some(),
                matches!(self.ready, Ready::Http(_)),
                self.tls.is_some(),
            ),
        }
    }
}

/// How a server shows that it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// It takes connections at `{listen}`.
    Tcp,
    /// `GET` of this path at `{listen}` is answered with a status of 200 to 299.
    Http(String),
    /// It has printed this, on either stream.
    Log(String),
    /// Its gRPC health service says that this service is serving; `""` is the server as a whole.
    GrpcHealth(String),
}

/// A server of a world.
#[derive(Debug)]
pub struct Server {
    name: String,
    dir: PathBuf,
    port: PortClaim,
    admin: PortClaim,
    spec: Spec,
    ready: Ready,
    api: Option<DescriptorPool>,
    certificate: Option<PathBuf>,
    running: Mutex<Arc<Running>>,
    /// Whether its last end was asked for, so that its exit status says nothing.
    ended: AtomicBool,
}

/// What can be filled in for a server, besides what [`crate::world::endpoints`] lists: its own.
pub const OWN: &[(&str, &str)] = &[
    (
        "listen",
        "the address 127.0.0.1:PORT that this server is to listen on",
    ),
    (
        "admin",
        "a second address 127.0.0.1:PORT of its own, for whatever it serves beside",
    ),
    ("dir", "this server's own directory, in which it runs"),
];

impl Server {
    /// Starts a server in `dir/NAME` and waits until it is ready. `value` fills in every name that is not in [`OWN`].
    ///
    /// A port that a stranger takes between claim and bind is answered with a fresh one, three times.
    ///
    /// # Errors
    /// [`StartError`], with the end of the server's output.
    pub async fn start(
        server: &ServerSpec,
        dir: &Path,
        value: impl Fn(&str) -> Result<String, StartError>,
        deadline: Deadline,
    ) -> Result<Self, StartError> {
        let home = dir.join(&server.name);
        std::fs::create_dir_all(&home).map_err(|source| StartError::Write {
            path: home.clone(),
            source,
        })?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let port = PortClaim::new()?;
            let admin = PortClaim::new()?;
            let fill = |text: &Template| {
                text.fill(|name| match name {
                    "listen" => Ok(port.address()),
                    "admin" => Ok(admin.address()),
                    "dir" => Ok(home.to_string_lossy().into_owned()),
                    name => value(name),
                })
            };
            let certificate = server.tls.as_ref().map(&fill).transpose()?;
            let certificate = certificate.map(|path| home.join(path));
            let spec = command(server, dir, &home, fill)?;
            let target = Target {
                address: port.address(),
                certificate,
            };
            let error = match launch(&spec, &server.ready, &target, deadline).await {
                Ok(running) => {
                    return Ok(Server {
                        name: server.name.clone(),
                        dir: home,
                        port,
                        admin,
                        spec,
                        ready: server.ready.clone(),
                        api: server.api.clone(),
                        certificate: target.certificate,
                        running: Mutex::new(Arc::new(running)),
                        ended: AtomicBool::new(false),
                    });
                }
                Err(error @ StartError::Exited { .. }) => error,
                Err(error) => return Err(error),
            };
            let taken = ports_taken(&[&port, &admin]);
            if taken.is_empty() {
                return Err(error);
            }
            port_lost(&server.name, attempts, &taken, &spec.logs, error)?;
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `127.0.0.1:PORT`, its `{listen}`.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// `127.0.0.1:PORT`, its `{admin}`.
    pub fn admin_address(&self) -> String {
        self.admin.address()
    }

    /// Its own directory, in which it runs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How it shows that it is ready.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The messages of its gRPC API, as the world was told them.
    pub fn api(&self) -> Option<&DescriptorPool> {
        self.api.as_ref()
    }

    /// The certificate (PEM) that it shows; `None` when its connections are not encrypted.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// What it speaks, as far as a proxy can look into it.
    pub fn speaks(&self) -> Kind {
        let answers_http = matches!(self.ready, Ready::Http(_));
        Kind::of_server(self.api.is_some(), answers_http, self.certificate.is_some())
    }

    /// The process that runs now, or ran last.
    pub fn running(&self) -> Arc<Running> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether its process has ended with an error that nobody asked for.
    pub(crate) fn has_crashed(&self) -> bool {
        let ended = self.ended.load(Ordering::Relaxed);
        let exit = self.running().exit();
        !ended && exit.is_some_and(|exit| !exit.status.success())
    }

    /// Ends it: SIGTERM, and after [`GRACE`] SIGKILL.
    pub async fn stop(&self, deadline: Deadline) -> Stopped {
        let running = self.running();
        // An end before this one keeps its meaning.
        if running.exit().is_some() {
            return Stopped::Already;
        }
        self.ended.store(true, Ordering::Relaxed);
        running.terminate(deadline.at_most(GRACE)).await
    }

    /// Says that the process is about to be ended on purpose, so that its exit status is no crash.
    pub fn expect_end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Ends it with SIGKILL, as a power cut would.
    pub async fn kill(&self) -> Exit {
        self.expect_end();
        self.running().kill().await
    }

    /// Starts it again with the same command line, port and directory, and waits until it is ready; it ends it first
    /// where it still runs.
    ///
    /// # Errors
    /// [`StartError`]; the server is then not running.
    pub async fn restart(&self, deadline: Deadline) -> Result<(), StartError> {
        self.stop(deadline).await;
        let target = Target {
            address: self.address(),
            certificate: self.certificate.clone(),
        };
        let running = launch(&self.spec, &self.ready, &target, deadline).await?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(running);
        self.ended.store(false, Ordering::Relaxed);
        Ok(())
    }
}

fn command(
    server: &ServerSpec,
    dir: &Path,
    home: &Path,
    fill: impl Fn(&Template) -> Result<String, StartError>,
) -> Result<Spec, StartError> {
    let mut words = server.run.iter().map(&fill);
    let program = words.next().transpose()?.unwrap_or_default();
    let args: Result<Vec<OsString>, StartError> = words.map(|word| Ok(word?.into())).collect();
    let env = server.env.iter();
    let env: Result<Vec<(String, OsString)>, StartError> = env
        .map(|(name, value)| Ok((name.clone(), fill(value)?.into())))
        .collect();
    Ok(Spec {
        name: server.name.clone(),
        program: program.into(),
        args: args?,
        hidden_env: &[],
        env: env?,
        dir: home.to_owned(),
        logs: LogFiles::in_dir(dir, &server.name),
        stdin: Stdin::Null,
    })
}

async fn launch(
    spec: &Spec,
    ready: &Ready,
    target: &Target,
    deadline: Deadline,
) -> Result<Running, StartError> {
    let LogFiles { stdout, stderr } = &spec.logs;
    // What an earlier run of it printed does not count.
    let printed = [stdout, stderr].map(|path| (path, length(path)));
    let running = spec.clone().start()?;
    let address = &target.address;
    let what = match ready {
        Ready::Tcp => format!("{} to listen on {address}", spec.name),
        Ready::Http(path) => format!("{} to answer GET http://{address}{path}", spec.name),
        Ready::Log(text) => format!("{} to print {text:?}", spec.name),
        Ready::GrpcHealth(service) => {
            let of = match service.as_str() {
                "" => String::new(),
                service => format!(" {service}"),
            };
            let name = &spec.name;
            format!("{name} to say at {address} (grpc.health.v1) that it is SERVING{of}")
        }
    };
    wait_ready(&running, what, deadline, || async {
        match ready {
            Ready::Tcp => match tokio::net::TcpStream::connect(address).await {
                Ok(_) => Probe::Ready(()),
                Err(error) => Probe::<_, NoHealth>::Pending(error.to_string()),
            },
            Ready::Http(path) => {
                let request = Request {
                    method: "GET".to_owned(),
                    url: format!("http://{address}{path}"),
                    json: None,
                };
                match http::send(request, deadline.at_most(LOOK)).await {
                    Ok(answer) if (200..300).contains(&answer.status) => Probe::Ready(()),
                    Ok(answer) => Probe::Pending(format!("it answered {}", answer.status)),
                    Err(error) => Probe::Pending(error.to_string()),
                }
            }
            Ready::GrpcHealth(service) => {
                match grpc::is_serving(target, service, deadline.at_most(LOOK)).await {
                    Ok(Ok(())) => Probe::Ready(()),
                    Ok(Err(reason)) => Probe::Pending(reason),
                    Err(never) => Probe::Fatal(never),
                }
            }
            Ready::Log(text) => match printed.iter().any(|(path, from)| says(path, *from, text)) {
                true => Probe::Ready(()),
                false => Probe::Pending("it has not".to_owned()),
            },
        }
    })
    .await?;
    Ok(running)
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Whether the file has `text` somewhere after byte `from`.
fn says(path: &Path, from: u64, text: &str) -> bool {
    let read = || {
        let mut file = std::fs::File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    read().is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
}
