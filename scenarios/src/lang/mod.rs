//! The scenario language: from files to plans, or to every problem in them. Runs nothing.
//!
//! A file is TOML 1.1 with the keys `title`, `tags`, `needs`, `world`, `servers`, `known_failure` and `steps`, and after
//! them `cases` or `matrix`; `steps` is an array of tables, one for every step, written in braces on a line of its own (`[[steps]]` is the same data to TOML and
//! works, too). A
//! text that is wholly `$name` or `$name.field` stands for what an earlier step bound, where the key takes a value of that
//! type; a text that starts with a dollar sign is written with two. `$name` may also be an input: of a case, or of the fragment
//! that the step is in. A value that was given for it stands in its place before the step is read, so that any key can
//! have one, and what is wrong with it is said where it was given. Composition is closed: `use`, `steps`, `together`, `times`,
//! `start` and `await`, `on`; there are no conditions and no arithmetic. Names that are bound where a step is repeated, must
//! fail or runs at an event can be read inside of it only, for outside there are several of them, or none. [`check`] finds every problem; the [`Plan`] that it
//! gives when there is none needs no further look at the file.

mod answer;
mod block;
mod books;
mod call;
mod cases;
mod chains;
mod check;
mod common;
mod cx;
mod docs;
mod event;
mod expand;
mod fields;
mod fill;
mod fragment;
mod frame;
mod inputs;
mod json;
mod known;
mod liquid;
mod load;
mod lookup;
mod macros;
mod messages;
mod page;
mod parties;
mod plan;
mod problem;
mod protos;
mod proxies;
mod reference;
mod schema;
mod scope;
mod servers;
mod step;
mod steps;
mod syntax;
mod tasks;
mod types;
mod value;
mod words;
mod world;

pub use answer::{Answer, Reply};
pub use books::{BitcoinBooks, HtlcBooks, HtlcList, LiquidBooks, ServerBooks};
pub use chains::{Chains, chain_name};
pub use check::check;
pub use cx::{Field, FieldType, StepCx, plain_name};
pub use docs::{
    BlockDocs, KeyDocs, OutputDocs, StepDocs, block_docs, common_docs, docs, file_docs,
    fragment_docs, input_type_docs, preset_docs, server_docs, world_docs,
};
pub use fields::{GrpcMethod, LinkMethod};
pub use fill::{Argv, Env, Filled, Filling};
pub(crate) use json::typed;
pub use json::{Body, Expected, JsonPath, JsonPaths, Taken};
pub use liquid::{AssetOf, Holder, LiquidAmount, To, Wallet};
pub use load::{LoadError, load};
pub(crate) use messages::{check_call, shape};
pub use page::{NoExample, reference_page};
pub use parties::{BITCOIND, Daemon, Funded, Party, ServerName};
pub use plan::{Action, KeySpan, KnownFailure, Plan, PlannedStep, Site};
pub use problem::{Problem, Report, Source, Span};
pub(crate) use proxies::on_the_wire;
pub use proxies::{Lie, LieValue, OnProxy};
pub use reference::{Arg, Bound, Reference};
pub use schema::{fragment_schema, schema};
pub use scope::{Name, NameKind, Scope};
pub use step::{
    AnyStep, COMMON_KEYS, FieldSpec, REFERENCE_PATTERN, Registry, RegistryError, StepEntry,
    StepSpec, Table,
};
pub use types::{EntityField, EntityType, Type, WordType};
pub use value::{Bind, BindingError, Bindings, Entity, Readable, Resolved, Value, downcast};
pub use words::{Node, all_of, nearest, one_of, one_of_quoted, quoted};
pub use world::{DEFAULT_DEADLINE, Preset, WorldPlan, is_party_name, preset, preset_names};
