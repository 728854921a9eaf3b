//! The table of methods. What is not in it is not there: `Method not found`.

use super::error::RpcResult;
use super::request::Call;
use super::{chain, control, mempool, raw, wait, wallet};

/// A method.
pub(crate) struct Method {
    /// Its name.
    pub name: &'static str,
    /// Its parameters in order; `|` between the names of one.
    pub params: &'static [&'static str],
    /// How many of them must be given.
    pub required: usize,
    /// What it does.
    pub run: fn(Call<'_>) -> RpcResult,
}

impl Method {
    /// The first line of elementsd's help, more or less.
    pub(crate) fn usage(&self) -> String {
        let mut words = vec![self.name.to_owned()];
        let names = self
            .params
            .iter()
            .map(|names| names.split('|').next().unwrap_or(names));
        for (at, name) in names.enumerate() {
            words.push(if at < self.required {
                name.to_owned()
            } else {
                format!("( {name} )")
            });
        }
        words.join(" ") + "\n"
    }
}

/// The method of a name.
pub(crate) fn find(name: &str) -> Option<&'static Method> {
    let at = METHODS
        .binary_search_by(|method| method.name.cmp(name))
        .ok()?;
    METHODS.get(at)
}

/// All names, in order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|method| method.name)
}

macro_rules! methods {
    ($($name:literal [$($required:literal),*] [$($optional:literal),*] $run:path;)*) => {
        /// In the order of their names.
        static METHODS: &[Method] = &[$(Method {
            name: $name,
            params: &[$($required,)* $($optional),*],
            required: <[&str]>::len(&[$($required),*]),
            run: $run,
        }),*];
    };
}

methods! {
    "blindrawtransaction" ["hexstring"] ["ignoreblindfail", "asset_commitments", "blind_issuances", "totalblinder"] wallet::blind_raw_transaction;
    "createrawtransaction" ["inputs", "outputs"] ["locktime", "replaceable"] raw::create_raw_transaction;
    "createwallet" ["wallet_name"] ["disable_private_keys", "blank", "passphrase", "avoid_reuse", "descriptors", "load_on_startup", "external_signer"] wallet::create_wallet;
    "decoderawtransaction" ["hexstring"] ["iswitness"] raw::decode_raw_transaction;
    "dumpassetlabels" [] [] chain::dump_asset_labels;
    "dumpblindingkey" ["address"] [] wallet::dump_blinding_key;
    "estimatesmartfee" ["conf_target"] ["estimate_mode"] mempool::estimate_smart_fee;
    "fundrawtransaction" ["hexstring"] ["options", "iswitness"] wallet::fund_raw_transaction;
    "generateblock" ["output", "transactions"] [] control::generate_block;
    "generatetoaddress" ["nblocks", "address"] ["maxtries"] control::generate_to_address;
    "getaddressinfo" ["address"] [] wallet::get_address_info;
    "getbalance" [] ["dummy", "minconf", "include_watchonly", "avoid_reuse", "assetlabel"] wallet::get_balance;
    "getbalances" [] [] wallet::get_balances;
    "getbestblockhash" [] [] chain::get_best_block_hash;
    "getblock" ["blockhash"] ["verbosity|verbose"] chain::get_block;
    "getblockchaininfo" [] [] chain::get_blockchain_info;
    "getblockcount" [] [] chain::get_block_count;
    "getblockhash" ["height"] [] chain::get_block_hash;
    "getblockheader" ["blockhash"] ["verbose"] chain::get_block_header;
    "getchaintips" [] [] chain::get_chain_tips;
    "getmempoolentry" ["txid"] [] mempool::get_mempool_entry;
    "getmempoolinfo" [] [] mempool::get_mempool_info;
    "getnetworkinfo" [] [] chain::get_network_info;
    "getnewaddress" [] ["label", "address_type"] wallet::get_new_address;
    "getrawmempool" [] ["verbose", "mempool_sequence"] mempool::get_raw_mempool;
    "getrawtransaction" ["txid"] ["verbose", "blockhash"] raw::get_raw_transaction;
    "getsidechaininfo" [] [] chain::get_sidechain_info;
    "gettransaction" ["txid"] ["include_watchonly", "verbose", "assetlabel"] wallet::get_transaction;
    "gettxout" ["txid", "n"] ["include_mempool"] chain::get_tx_out;
    "getwalletinfo" [] [] wallet::get_wallet_info;
    "help" [] ["command"] control::help;
    "invalidateblock" ["blockhash"] [] control::invalidate_block;
    "issueasset" ["assetamount", "tokenamount"] ["blind", "contract_hash"] wallet::issue_asset;
    "listtransactions" [] ["label|dummy", "count", "skip", "include_watchonly"] wallet::list_transactions;
    "listunspent" [] ["minconf", "maxconf", "addresses", "include_unsafe", "query_options"] wallet::list_unspent;
    "listwallets" [] [] wallet::list_wallets;
    "loadwallet" ["filename"] ["load_on_startup"] wallet::load_wallet;
    "reconsiderblock" ["blockhash"] [] control::reconsider_block;
    "reissueasset" ["asset", "assetamount"] [] wallet::reissue_asset;
    "rescanblockchain" [] ["start_height", "stop_height"] wallet::rescan_blockchain;
    "scantxoutset" ["action"] ["scanobjects"] chain::scan_tx_out_set;
    "sendmany" ["dummy", "amounts"] ["minconf", "comment", "subtractfeefrom", "replaceable", "conf_target", "estimate_mode", "output_assets", "ignoreblindfail", "fee_rate", "verbose"] wallet::send_many;
    "sendrawtransaction" ["hexstring"] ["maxfeerate"] raw::send_raw_transaction;
    "sendtoaddress" ["address", "amount"] ["comment", "comment_to", "subtractfeefromamount", "replaceable", "conf_target", "estimate_mode", "avoid_reuse", "assetlabel", "ignoreblindfail", "fee_rate", "verbose"] wallet::send_to_address;
    "setlabel" ["address", "label"] [] wallet::set_label;
    "setmocktime" ["timestamp"] [] control::set_mock_time;
    "signrawtransactionwithwallet" ["hexstring"] ["prevtxs", "sighashtype"] wallet::sign_raw_transaction;
    "sim_generate_on" ["parent", "nblocks", "address"] ["transactions"] control::sim_generate_on;
    "sim_revert" ["snapshot"] [] control::sim_revert;
    "sim_snapshot" [] [] control::sim_snapshot;
    "stop" [] ["wait"] control::stop;
    "submitblock" ["hexdata"] ["dummy"] control::submit_block;
    "testmempoolaccept" ["rawtxs"] ["maxfeerate"] raw::test_mempool_accept;
    "unblindrawtransaction" ["hex"] [] wallet::unblind_raw_transaction;
    "unloadwallet" [] ["wallet_name", "load_on_startup"] wallet::unload_wallet;
    "uptime" [] [] control::uptime;
    "waitforblock" ["blockhash"] ["timeout"] wait::tip;
    "waitforblockheight" ["height"] ["timeout"] wait::tip;
    "waitfornewblock" [] ["timeout"] wait::tip;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(METHODS.is_sorted_by(|a, b| a.name < b.name));
        assert!(find("getblock").is_some_and(|method| method.required == 1));
        assert!(find("nosuch").is_none());
    }

    #[test]
    fn usage() {
        assert_eq!(
            find("getblock").unwrap().usage(),
            "getblock blockhash ( verbosity )\n"
        );
    }
}
