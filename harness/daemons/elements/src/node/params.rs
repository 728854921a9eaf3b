//! What a chain and its node are made from: elementsd's options, and the constants of custom chains.

use elements::AssetId;

use super::fee_rate::FeeRate;

/// Blocks after which a coinbase output may be spent.
pub const COINBASE_MATURITY: u32 = 100;
/// Blocks in a dynafed epoch of a custom chain (`-dynamic_epoch_length`).
pub const EPOCH_LENGTH: u32 = 10;
/// The highest weight of a block.
pub const MAX_BLOCK_WEIGHT: u64 = 4_000_000;
/// The most signature checks in a block, in witness-scaled cost.
pub const MAX_BLOCK_SIGOPS_COST: u64 = 80_000;
/// More than this in one amount or sum of amounts is out of range, for explicit amounts of any asset.
pub const MAX_MONEY: u64 = 21_000_000 * 100_000_000;
/// `-peginconfirmationdepth` of custom chains.
pub const PEGIN_CONFIRMATION_DEPTH: u32 = 8;
/// The genesis block of Bitcoin's regtest, the parent chain of custom chains, as it is written.
pub const PARENT_GENESIS_HASH: &str =
    "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206";
/// Consensus: the value of one coin.
pub const COIN: u64 = 100_000_000;

/// The options of elementsd that the bundled node's chain has, by elementsd's names (Elements Core 23.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// `-chain`: a custom chain's name; it is committed to by the genesis block.
    pub chain: String,
    /// `-initialfreecoins`, satoshi of the policy asset that the genesis block pays to anyone; at most [`MAX_MONEY`].
    pub initial_free_coins: u64,
    /// `-con_blocksubsidy`, satoshi; halves every 150 blocks.
    pub con_block_subsidy: u64,
    /// `-minrelaytxfee`.
    pub min_relay_fee: FeeRate,
    /// `-blockmintxfee`: transactions below it wait in the mempool.
    pub block_min_fee: FeeRate,
    /// `-dustrelayfee`.
    pub dust_relay_fee: FeeRate,
    /// `-incrementalrelayfee`: what a replacement pays beyond what it replaces.
    pub incremental_relay_fee: FeeRate,
    /// `-acceptdiscountct`: fee rates are judged by the discounted virtual size of ELIP 200.
    pub accept_discount_ct: bool,
    /// `-acceptnonstdtxn`: no transaction is refused for being unusual.
    pub accept_non_std_txn: bool,
    /// `-acceptunlimitedissuances`: issuances above [`MAX_MONEY`] are relayed.
    pub accept_unlimited_issuances: bool,
    /// `-multi_data_permitted`: more than one `OP_RETURN` output is relayed.
    pub multi_data_permitted: bool,
    /// `-permitbaremultisig`.
    pub permit_bare_multisig: bool,
    /// `-limitancestorcount`.
    pub limit_ancestor_count: u64,
    /// `-limitancestorsize`, virtual bytes.
    pub limit_ancestor_size: u64,
    /// `-limitdescendantcount`.
    pub limit_descendant_count: u64,
    /// `-limitdescendantsize`, virtual bytes.
    pub limit_descendant_size: u64,
}

impl Params {
    /// `liquidregtest` as PeerSwap, Boltz and LWK use it: 21 million free coins, no subsidy, discounted confidential
    /// transactions; the rest, 0.1 sat/vB among it, is elementsd's default.
    pub fn liquid_regtest() -> Self {
        Params {
            chain: "liquidregtest".into(),
            initial_free_coins: MAX_MONEY,
            con_block_subsidy: 0,
            min_relay_fee: FeeRate::from_sat_per_kvb(100),
            block_min_fee: FeeRate::from_sat_per_kvb(100),
            dust_relay_fee: FeeRate::from_sat_per_kvb(100),
            incremental_relay_fee: FeeRate::from_sat_per_kvb(100),
            accept_discount_ct: true,
            accept_non_std_txn: false,
            accept_unlimited_issuances: false,
            multi_data_permitted: false,
            permit_bare_multisig: true,
            limit_ancestor_count: 25,
            limit_ancestor_size: 101_000,
            limit_descendant_count: 25,
            limit_descendant_size: 101_000,
        }
    }
}

/// What follows from [`Params`] and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainConstants {
    /// The pegged asset, which is also the policy and the subsidy asset.
    pub policy_asset: AssetId,
    /// The hash of block 0, which taproot signatures commit to.
    pub genesis_hash: elements::BlockHash,
}
