//! The names of elementsd's options (23.4), by what the bundled node makes of them.

/// Honoured.
const HONOURED: &str = "acceptdiscountct acceptnonstdtxn acceptunlimitedissuances blindedaddresses blockmintxfee chain \
    con_blocksubsidy conf datadir debug dustrelayfee fallbackfee incrementalrelayfee initialfreecoins \
    limitancestorcount limitancestorsize limitdescendantcount limitdescendantsize maxtipage maxtxfee \
    minrelaytxfee mintxfee mocktime multi_data_permitted permitbaremultisig printtoconsole rpcauth rpcbind \
    rpccookiefile rpcpassword rpcport rpcuser simseed simsnapshot walletrbf";

/// Accepted with any value: they make no difference here.
const WITHOUT_EFFECT: &str = "addresstype anyonecanspendaremine bind blocksonly changetype checkblockindex checkblocks checklevel \
    checkmempool checkpoints connect creatediscountct dbcache debugexclude debuglogfile deprecatedrpc discover \
    dns dnsseed fastprune fixedseeds flushwallet forcednsseed keypool logips logsourcelocations logthreadnames \
    logtimemicros logtimestamps maxconnections maxmempool mempoolexpiry natpmp networkactive par persistmempool \
    pid port rpcallowip rpcservertimeout rpcthreads rpcworkqueue settings shrinkdebugfile stopatheight uacomment \
    unsafesqlitesync upnp walletdir";

/// Accepted when on: the bundled node cannot do without.
const ALWAYS_ON: &str = "con_connect_genesis_outputs con_elementsmode con_has_parent_chain server spendzeroconfchange txindex \
    walletbroadcast";

/// Accepted when off: the bundled node has no such thing.
const ALWAYS_OFF: &str = "blockfilterindex daemon daemonwait disablewallet listen listenonion prune rest trim_headers validatepegin";

/// Refused: known to elementsd, and too much to ask here.
const REFUSED: &str = "addnode addrmantest alertnotify asmap assetdir assumevalid avoidpartialspends bantime bech32_hrp blech32_hrp \
    blindedprefix blockmaxweight blocknotify blockreconstructionextratxn blocksdir blockversion bytespersigop \
    capturemessages checkaddrman cjdnsreachable coinstatsindex con_blockheightinheader con_csv_deploy_start \
    con_dyna_deploy_signal con_genesis_style con_mandatorycoinbase con_max_block_sig_size \
    con_parent_chain_signblockscript con_parent_pegged_asset con_parentpowlimit con_signed_blocks \
    con_start_p2wsh_script consolidatefeerate ct_bits ct_exponent datacarrier datacarriersize dbbatchsize \
    dblogsize defaultpeggedassetname discardfee dynamic_epoch_length enforce_pak evbparams externalip \
    extprvkeyprefix extpubkeyprefix fedpegscript feeasset i2pacceptincoming i2psam includeconf \
    initialreissuancetokens loadblock mainchainrpccookiefile mainchainrpchost mainchainrpcpassword \
    mainchainrpcport mainchainrpctimeout mainchainrpcuser maxapsfee maxorphantx maxreceivebuffer maxsendbuffer \
    maxsigcachesize maxtimeadjustment maxuploadtarget minimumchainwork onion onlynet pak parent_bech32_hrp \
    parent_blech32_hrp parentgenesisblockhash parentpubkeyprefix parentscriptprefix paytxfee peerblockfilters \
    peerbloomfilters peertimeout peginconfirmationdepth peginminamount peginminheight peginsubsidyheight \
    peginsubsidythreshold printpriority privdb proxy proxyrandomize pubkeyprefix ratelimitlogging regtest \
    reindex reindex-chainstate rpcserialversion rpcwhitelist rpcwhitelistdefault sandbox scriptprefix \
    secretprefix seednode signblockscript signer signet signetchallenge signetseednode startupnotify \
    stopafterblockimport subsidyasset sysperms testactivationheight testnet timeout torcontrol torpassword \
    total_valid_epochs txconfirmtarget vbparams wallet walletnotify walletrejectlongchains whitebind whitelist \
    whitelistforcerelay whitelistrelay zmqpubhashblock zmqpubhashblockhwm zmqpubhashtx zmqpubhashtxhwm \
    zmqpubrawblock zmqpubrawblockhwm zmqpubrawtx zmqpubrawtxhwm zmqpubsequence zmqpubsequencehwm";

/// Those that count in a chain's section of the file or on the command line only.
const NETWORK_ONLY: &str = "addnode connect port bind rpcport rpcbind wallet";

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Honoured,
    WithoutEffect,
    /// This value alone is possible.
    Only(bool),
    Refused,
}

/// What becomes of the option of a name; none if elementsd does not know it.
pub(super) fn kind(name: &str) -> Option<Kind> {
    let lists = [
        (HONOURED, Kind::Honoured),
        (WITHOUT_EFFECT, Kind::WithoutEffect),
        (ALWAYS_ON, Kind::Only(true)),
        (ALWAYS_OFF, Kind::Only(false)),
        (REFUSED, Kind::Refused),
    ];
    let found = lists.iter().find(|(names, _)| has(names, name));
    found.map(|(_, kind)| *kind)
}

/// Whether an option outside a section of the file is passed over.
pub(super) fn is_network_only(name: &str) -> bool {
    has(NETWORK_ONLY, name)
}

fn has(names: &str, name: &str) -> bool {
    names.split(' ').any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_stands_in_one_list() {
        let lists = [HONOURED, WITHOUT_EFFECT, ALWAYS_ON, ALWAYS_OFF, REFUSED];
        let mut all: Vec<&str> = lists.iter().flat_map(|names| names.split(' ')).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|name| !name.is_empty()));
        assert!(NETWORK_ONLY.split(' ').all(|name| kind(name).is_some()));
    }
}
