//! The snapshot file: the node's own bytes, and what it takes to make the wallets again.
//!
//! A header line, the length of the wallets' JSON, that JSON, the node.

use std::path::Path;

use anyhow::{Context, bail};

use crate::node::{Node, Params};
use crate::rpc::{State, json::Json, json::Object};
use crate::wallet::{Settings, Wallets};

const HEADER: &[u8] = b"swaprig elements snapshot 1\n";

/// Writes the state to a file, whole or not at all.
pub(crate) fn save(path: &Path, state: &State) -> anyhow::Result<()> {
    let mut out = Object::new();
    out.put("wallets", state.wallets.export());
    let wallets = Json::from(out).write();
    let mut bytes = HEADER.to_vec();
    bytes.extend_from_slice(&(wallets.len() as u64).to_le_bytes());
    bytes.extend_from_slice(wallets.as_bytes());
    bytes.extend_from_slice(&state.node.snapshot());
    let part = path.with_extension("part");
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("cannot write the snapshot {}", path.display()))
}

/// The node of a file, and its wallets; with no file the node of the parameters and none.
pub(crate) fn load(
    path: Option<&Path>,
    params: &Params,
    settings: Settings,
) -> anyhow::Result<(Node, Option<Wallets>)> {
    let Some(path) = path.filter(|path| path.exists()) else {
        let node = Node::new(params.clone()).map_err(anyhow::Error::msg)?;
        return Ok((node, None));
    };
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes, params, settings)
        .with_context(|| format!("cannot use the snapshot {}", path.display()))
}

fn parse(
    bytes: &[u8],
    params: &Params,
    settings: Settings,
) -> anyhow::Result<(Node, Option<Wallets>)> {
    let Some(rest) = bytes.strip_prefix(HEADER) else {
        bail!("not a snapshot of this version of the bundled Elements node");
    };
    let (length, rest) = rest
        .split_first_chunk::<8>()
        .context("the file is cut short")?;
    let length = usize::try_from(u64::from_le_bytes(*length))?;
    let (wallets, node) = rest
        .split_at_checked(length)
        .context("the file is cut short")?;
    let node = Node::restore(node, Some(params))?;
    let wallets = Json::parse(wallets).context("the wallets are damaged")?;
    let wallets = Wallets::import(&node, settings, wallets.get("wallets"))
        .context("the wallets are damaged")?;
    Ok((node, Some(wallets)))
}
