//! The server alone, for a look at it: `serve regtest|liquidregtest NODE_ADDR USER:PASSWORD [LISTEN_ADDR]`.

use swaprig_electrum::{Auth, Node, Options};

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [network, node, cookie, listen @ ..] = words.as_slice() else {
        anyhow::bail!("serve regtest|liquidregtest NODE_ADDR USER:PASSWORD [LISTEN_ADDR]");
    };
    let listen = listen.first().map_or("127.0.0.1:0", String::as_str);
    swaprig_electrum::run(Options {
        network: network.parse().map_err(anyhow::Error::msg)?,
        node: Node {
            address: node.clone(),
            auth: Auth::Cookie(cookie.clone()),
        },
        electrum_rpc_addr: listen.parse()?,
        banner: "An example.".to_owned(),
        exit_with_stdin: false,
    })
}
