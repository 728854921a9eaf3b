//! The API of a server as the server itself tells it: `grpc.reflection.v1`, and `v1alpha` where that is not there.

use std::collections::{BTreeMap, BTreeSet};

use prost::bytes::Bytes;
use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::FileDescriptorProto;

use super::{CallError, Code, Target, exchange};
use crate::time::Deadline;

/// The names of the service, the newer one first. Their messages are the same.
const SERVICES: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];
/// More files than any API has; a server that names new ones for ever is stopped there.
const MOST_FILES: usize = 10_000;

/// `ServerReflectionRequest`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(oneof = "Question", tags = "3, 4, 7")]
    question: Option<Question>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Question {
    #[prost(string, tag = "3")]
    FileByName(String),
    #[prost(string, tag = "4")]
    FileContainingSymbol(String),
    #[prost(string, tag = "7")]
    ListServices(String),
}

/// `ServerReflectionResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(oneof = "Reply", tags = "4, 6, 7")]
    reply: Option<Reply>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Reply {
    #[prost(message, tag = "4")]
    Files(Files),
    #[prost(message, tag = "6")]
    Services(Services),
    #[prost(message, tag = "7")]
    Error(ErrorReply),
}

/// `FileDescriptorResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

/// `ListServiceResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    services: Vec<ServiceName>,
}

/// `ServiceResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct ServiceName {
    #[prost(string, tag = "1")]
    name: String,
}

/// `ErrorResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorReply {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Why a server did not tell its API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReflectionError {
    /// It does not speak of itself at all.
    #[error("the server has no reflection, so nothing tells what its messages are")]
    None,
    /// It has no such service.
    #[error("the server has no service `{service}`")]
    NoService {
        /// What was asked for.
        service: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// What it told makes no API.
    #[error("what the server tells of its API by reflection cannot be used: {0}")]
    Unusable(String),
    /// It was not to be reached, or broke off.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Asks a server for the descriptors of `service` (such as `maker.v1.Maker`) and of all that they need.
///
/// # Errors
/// [`ReflectionError`].
pub async fn reflect(
    target: &Target,
    service: &str,
    deadline: Deadline,
) -> Result<DescriptorPool, ReflectionError> {
    let asking = Asking::begin(target, deadline).await?;
    if !asking.services.iter().any(|known| known == service) {
        return Err(ReflectionError::NoService {
            service: service.to_owned(),
            known: asking.services,
        });
    }
    let mut files: BTreeMap<String, FileDescriptorProto> = BTreeMap::new();
    let mut wanted = vec![Question::FileContainingSymbol(service.to_owned())];
    while let Some(question) = wanted.pop() {
        for file in asking.files(question).await? {
            files.insert(file.name().to_owned(), file);
        }
        if files.len() > MOST_FILES {
            let text = format!("more than {MOST_FILES} files");
            return Err(ReflectionError::Unusable(text));
        }
        let named: BTreeSet<&String> = files.values().flat_map(|file| &file.dependency).collect();
        let missing = named.into_iter().find(|name| !files.contains_key(*name));
        wanted.extend(missing.map(|name| Question::FileByName(name.clone())));
    }
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_protos(files.into_values())
        .map_err(|error| ReflectionError::Unusable(error.to_string()))?;
    Ok(pool)
}

/// A server that has reflection.
struct Asking<'t> {
    target: &'t Target,
    deadline: Deadline,
    version: &'static str,
    /// The services that it has.
    services: Vec<String>,
}

impl<'t> Asking<'t> {
    /// Finds the version that the server has, by asking for its services.
    async fn begin(target: &'t Target, deadline: Deadline) -> Result<Self, ReflectionError> {
        for version in SERVICES {
            let question = Question::ListServices(String::new());
            match ask(target, version, question, deadline).await {
                Ok(Reply::Services(list)) => {
                    let services = list.services.into_iter().map(|service| service.name);
                    return Ok(Asking {
                        target,
                        deadline,
                        version,
                        services: services.collect(),
                    });
                }
                Ok(other) => return Err(unexpected(&other)),
                Err(ReflectionError::Call(CallError::Status(status)))
                    if status.code == Code::Unimplemented => {}
                Err(error) => return Err(error),
            }
        }
        Err(ReflectionError::None)
    }

    async fn files(&self, question: Question) -> Result<Vec<FileDescriptorProto>, ReflectionError> {
        let name = match &question {
            Question::FileByName(name) | Question::FileContainingSymbol(name) => name.clone(),
            Question::ListServices(_) => String::new(),
        };
        let reply = ask(self.target, self.version, question, self.deadline).await?;
        let Reply::Files(files) = reply else {
            return Err(unexpected(&reply));
        };
        if files.files.is_empty() {
            let text = format!("it gives nothing for `{name}`");
            return Err(ReflectionError::Unusable(text));
        }
        let files = files.files.into_iter().map(prost::Message::decode);
        files
            .collect::<Result<_, _>>()
            .map_err(|error| ReflectionError::Unusable(error.to_string()))
    }
}

fn unexpected(reply: &Reply) -> ReflectionError {
    ReflectionError::Unusable(match reply {
        Reply::Error(error) => format!("{} (code {})", error.message, error.code),
        Reply::Files(_) => "files in place of services".to_owned(),
        Reply::Services(_) => "services in place of files".to_owned(),
    })
}

async fn ask(
    target: &Target,
    version: &str,
    question: Question,
    deadline: Deadline,
) -> Result<Reply, ReflectionError> {
    let request = Request {
        question: Some(question),
    };
    let path = format!("{version}/ServerReflectionInfo");
    // A stream of one question and one answer is on the wire what a call is.
    let bytes = exchange(target, &path, &request, deadline).await?;
    let response: Response = prost::Message::decode(bytes)
        .map_err(|error| ReflectionError::Unusable(error.to_string()))?;
    response
        .reply
        .ok_or_else(|| ReflectionError::Unusable("an empty answer".to_owned()))
}
