//! The store on real files: versions of the schema, what is refused, what a crash or a full disk leaves.

use std::path::Path;

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;
use elements::AssetId;
use proptest::prelude::*;
use rusqlite::Connection;
use swaprig_units::{BlockDelta, Height, Msat, PaymentHash, Preimage, Sat, Units};
use uuid::Uuid;

use super::*;
use crate::swap::{
    ChainName, ChainSpend, Depth, Direction, FailureReason, FundingTx, Phase, Spend, SwapId, Terms,
    status,
};

fn asset() -> AssetId {
    AssetId::from_byte_array([0xb7; 32])
}

fn key(byte: u8) -> bitcoin::secp256k1::PublicKey {
    let secret = bitcoin::secp256k1::SecretKey::from_slice(&[byte; 32]).unwrap();
    secret.public_key(bitcoin::secp256k1::SECP256K1)
}

/// A swap of that index; its id and its hash follow from it.
fn swap(index: u32) -> Swap {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&index.to_be_bytes());
    let terms = Terms {
        chain: ChainName::Liquid,
        direction: Direction::Out,
        asset: asset().into(),
        amount: Units(20_000),
        fee_value: Sat(0),
        price: Msat(20_200_000),
        prepay: Msat(0),
        payment_hash: PaymentHash(hash),
        claimer: key(1),
        refunder: key(2),
        timeout: Height(3_000),
        claim_window: BlockDelta(120),
        min_confirmations: 1,
        funding_window: BlockDelta(120),
        made_at: Height(1_000),
        refund_window: BlockDelta(0),
        finality: 0,
        internal: None,
        routing: None,
    };
    Swap {
        id: SwapId(Uuid::from_u128(1_000 + u128::from(index))),
        ..Swap::new(index, terms)
    }
}

fn txid(byte: u8) -> Txid {
    Txid::from_byte_array([byte; 32])
}

fn coin(number: u32) -> ReservedCoin {
    ReservedCoin {
        outpoint: OutPoint::new(txid(9), number),
        asset: asset().into(),
        value: 50_000,
    }
}

fn new(index: u32, coins: &[u32]) -> NewSwap {
    NewSwap {
        swap: swap(index),
        request_id: Uuid::from_u128(u128::from(index)),
        fingerprint: [1; 32],
        coins: coins.iter().copied().map(coin).collect(),
        effects: vec![Effect::MakeInvoice],
        witness_script: "00".into(),
        address: "address".into(),
    }
}

fn dir() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("swaps.db");
    (dir, path)
}

fn count(path: &Path, query: &str) -> i64 {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags).unwrap();
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn it_writes_ahead_and_a_second_opening_changes_nothing() {
    let (_dir, path) = dir();
    let store = Store::open(&path).unwrap();
    store.create(new(0, &[0])).await.unwrap();
    let mode: String = Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
    let schema = "SELECT COUNT(*) FROM sqlite_schema";
    let version = "SELECT user_version FROM pragma_user_version";
    let before = (count(&path, schema), count(&path, version));
    let stored = store.swap(swap(0).id).unwrap();
    drop(store);
    let again = Store::open(&path).unwrap();
    assert_eq!((count(&path, schema), count(&path, version)), before);
    assert_eq!(again.swap(swap(0).id).unwrap(), stored);
}

#[tokio::test]
async fn two_servers_never_share_a_store() {
    let (_dir, path) = dir();
    let store = Store::open(&path).unwrap();
    let second = Store::open(&path).unwrap_err();
    assert!(matches!(second, StoreError::InUse { .. }), "{second}");
    assert!(
        second.to_string().contains("another swap server"),
        "{second}"
    );
    drop(store);
    Store::open(&path).unwrap();
}

/// A store as the first version made it, with a swap in it.
async fn of_the_first_version(path: &Path) {
    let mut connection = Connection::open(path).unwrap();
    Migrations::new(vec![M::up(include_str!("schema.sql"))])
        .to_latest(&mut connection)
        .unwrap();
    // As that version wrote it: fewer fields, and two of them under other names.
    let mut body = serde_json::to_value(swap(41)).unwrap();
    let fields = body.as_object_mut().unwrap();
    for (now, then) in [
        ("never_settle", "never_claim"),
        ("settle_tried", "claim_tried"),
        ("own_spend", "refund"),
    ] {
        let value = fields.remove(now).unwrap();
        fields.insert(then.to_owned(), value);
    }
    let terms = fields["terms"].as_object_mut().unwrap();
    for new in ["chain", "direction", "refund_window", "finality"] {
        terms.remove(new).unwrap();
    }
    let swap = swap(41);
    connection
        .execute(
            "INSERT INTO swaps (id, swap_index, request_id, status, phase, asset, amount, fee_value_sat, price_msat, payment_hash, \
             witness_script, address, timeout, min_confirmations, body, created_at, updated_at) \
             VALUES (?1, 41, ?2, 'created', 'reserved', ?3, 1, 0, 1, ?4, '00', 'address', 3000, 1, ?5, 7, 7)",
            params![
                swap.id.to_string(),
                Uuid::from_u128(41).to_string(),
                asset().to_string(),
                swap.terms.payment_hash.to_string(),
                body.to_string(),
            ],
        )
        .unwrap();
    let swap = swap.id.to_string();
    connection
        .execute(
            "INSERT INTO reservations (swap_id, outpoint, asset, value, state) VALUES (?1, ?2, ?3, 50000, 'reserved')",
            params![
                swap,
                format!("[elements]{}", coin(3).outpoint),
                asset().to_string()
            ],
        )
        .unwrap();
}

#[tokio::test]
async fn a_store_of_an_older_version_is_brought_forward_and_keeps_what_it_has() {
    let (_dir, path) = dir();
    of_the_first_version(&path).await;
    let store = Store::open(&path).unwrap();
    assert_eq!(store.swap(swap(41).id).unwrap().unwrap().swap, swap(41));
    assert_eq!(store.coins().unwrap()[&swap(41).id], [coin(3)]);
    assert_eq!(store.next_index().unwrap(), 42);
    assert!(!store.is_new().unwrap());
    store.raise_index_floor(1_042).await.unwrap();
    assert_eq!(store.next_index().unwrap(), 1_042);
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let (_dir, path) = dir();
    drop(Store::open(&path).unwrap());
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Migration { .. }), "{error}");
    assert!(error.to_string().contains("swaps.db"), "{error}");
    let version = "SELECT user_version FROM pragma_user_version";
    assert_eq!(count(&path, version), 99);
}

#[test]
fn what_is_no_store_is_refused() {
    let (_dir, path) = dir();
    std::fs::write(&path, "this is no database, however long it is".repeat(100)).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(error.to_string().contains("not a database"), "{error}");
}

#[tokio::test]
async fn a_request_makes_one_swap_and_another_body_none() {
    let (_dir, path) = dir();
    let store = Store::open(&path).unwrap();
    let Created::New(effects) = store.create(new(0, &[0])).await.unwrap() else {
        panic!("it was new");
    };
    assert_eq!(effects, store.pending_effects().unwrap());
    // The same request with another draft: nothing of the draft is kept.
    let mut again = new(5, &[5]);
    again.request_id = new(0, &[]).request_id;
    assert_eq!(
        store.create(again.clone()).await.unwrap(),
        Created::Existing(swap(0).id)
    );
    again.fingerprint = [2; 32];
    let conflict = store.create(again.clone()).await.unwrap_err();
    assert!(
        matches!(conflict, StoreError::RequestConflict { request_id } if request_id == again.request_id)
    );
    let by_request = |print: [u8; 32]| store.by_request(again.request_id, &print);
    assert_eq!(by_request([1; 32]).unwrap(), Some(swap(0).id));
    assert!(by_request([2; 32]).is_err());
    assert_eq!(
        store.by_request(Uuid::from_u128(77), &[1; 32]).unwrap(),
        None
    );
    assert_eq!(count(&path, "SELECT COUNT(*) FROM swaps"), 1);
    assert_eq!(count(&path, "SELECT COUNT(*) FROM reservations"), 1);
}

#[tokio::test]
async fn a_coin_belongs_to_one_swap_until_it_is_released() {
    let (_dir, path) = dir();
    let store = Store::open(&path).unwrap();
    store.create(new(0, &[0, 1])).await.unwrap();
    let taken = store.create(new(1, &[2, 1])).await.unwrap_err();
    let named = coin(1).outpoint.to_string();
    assert!(matches!(taken, StoreError::CoinTaken { outpoint } if outpoint == named));
    // Nothing of it is left: no swap, no request, no coin.
    assert_eq!(store.swap(swap(1).id).unwrap(), None);
    assert_eq!(count(&path, "SELECT COUNT(*) FROM request_ids"), 1);
    assert_eq!(store.coins().unwrap().len(), 1);
    // Also a signed funding keeps its coins.
    let keep = |coins| store.update_coins(0, coins);
    keep(Coins::Spent).await;
    assert!(store.create(new(1, &[2, 1])).await.is_err());
    keep(Coins::Release).await;
    assert!(store.coins().unwrap().is_empty());
    store.create(new(1, &[2, 1])).await.unwrap();
    assert_eq!(store.coins().unwrap()[&swap(1).id], [coin(2), coin(1)]);
    // What was released stays so, whatever its first swap does.
    keep(Coins::Spent).await;
    assert_eq!(store.coins().unwrap().len(), 1);
}

impl Store {
    async fn update_coins(&self, index: u32, coins: Coins) {
        let swap = swap(index);
        let done = self.update(&swap, false, Vec::new(), None, coins, None);
        done.await.unwrap();
    }
}

#[tokio::test]
async fn an_update_of_no_swap_is_refused_as_a_whole() {
    let (_dir, path) = dir();
    let store = Store::open(&path).unwrap();
    let Created::New(effects) = store.create(new(0, &[0])).await.unwrap() else {
        panic!("it was new");
    };
    let missing = store
        .update(
            &swap(9),
            false,
            vec![Effect::Refund],
            Some(effects[0].id),
            Coins::Release,
            None,
        )
        .await;
    let missing = missing.unwrap_err();
    assert_eq!(missing.to_string(), "swap not found");
    assert_eq!(store.pending_effects().unwrap(), effects);
    assert_eq!(store.coins().unwrap().len(), 1);
}

#[tokio::test]
async fn an_effect_waits_once_and_can_be_asked_for_again_when_it_is_done() {
    let (_dir, path) = dir();
    let store = Store::open(&path).unwrap();
    store.create(new(0, &[])).await.unwrap();
    let ask = async |done| {
        let wanted = vec![Effect::MakeInvoice, Effect::Refund];
        let swap = swap(0);
        let asked = store.update(&swap, false, wanted, done, Coins::Keep, None);
        asked.await.unwrap()
    };
    let first = ask(None).await;
    assert_eq!(
        first.len(),
        1,
        "the invoice is asked for already: {first:?}"
    );
    assert!(ask(None).await.is_empty());
    let again = ask(Some(first[0].id)).await;
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].id, first[0].id);
    store.effect_done(again[0].id).await.unwrap();
    assert_eq!(store.pending_effects().unwrap().len(), 1);
}

#[tokio::test]
async fn pages_show_every_swap_once_the_newest_first() {
    let (_dir, path) = dir();
    let store = Store::open(&path).unwrap();
    for index in 0..25 {
        store.create(new(index, &[])).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store
            .page(Kind::LnToLiquid, Some(Status::Created), after, 10)
            .unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.created_at, last.swap.id));
        seen.extend(page);
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted_by_key(|one| std::cmp::Reverse((one.created_at, one.swap.id))));
    assert!(
        store
            .page(Kind::LnToLiquid, Some(Status::Funded), None, 10)
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_job_that_fails_does_not_spoil_the_others_of_its_commit() {
    let (_dir, path) = dir();
    let store = Store::open(&path).unwrap();
    store.create(new(1_000, &[7])).await.unwrap();
    // All at once; every third one wants a coin that is taken.
    let all = (0..60).map(|index| {
        let wanted = if index % 3 == 0 { 7 } else { 100 + index };
        store.create(new(index, &[wanted]))
    });
    let made = futures_util::future::join_all(all).await;
    for (index, made) in made.iter().enumerate() {
        match index % 3 {
            0 => assert!(
                matches!(made, Err(StoreError::CoinTaken { .. })),
                "{made:?}"
            ),
            _ => assert!(matches!(made, Ok(Created::New(_))), "{made:?}"),
        }
    }
    assert_eq!(count(&path, "SELECT COUNT(*) FROM swaps"), 41);
    assert_eq!(count(&path, "SELECT COUNT(*) FROM request_ids"), 41);
    assert_eq!(store.coins().unwrap().len(), 41);
}

/// SQLite may end the whole transaction by itself. Whoever was told of an error must find nothing written then.
#[tokio::test]
async fn when_sqlite_gives_up_a_transaction_nothing_is_written_behind_its_callers_backs() {
    let (_dir, path) = dir();
    let store = Store::open(&path).unwrap();
    for round in 0..20_u32 {
        let before = store.create(new(round * 10, &[]));
        let gives_up = store.writer.write(|connection| {
            connection.execute_batch("ROLLBACK")?;
            Err::<(), _>(StoreError::Stopped)
        });
        let after = store.create(new(round * 10 + 1, &[]));
        let (before, gave_up, after) = futures_util::join!(before, gives_up, after);
        assert!(gave_up.is_err());
        for (index, made) in [(round * 10, before), (round * 10 + 1, after)] {
            let stored = store.swap(swap(index).id).unwrap();
            assert_eq!(stored.is_some(), made.is_ok(), "{index}: {made:?}");
        }
    }
    // And the next one is as if nothing had been.
    store.create(new(5_000, &[])).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_spoils_nothing() {
    let (_dir, path) = dir();
    let store = Store::open(&path).unwrap();
    store.create(new(0, &[0])).await.unwrap();
    let limit = async |pages: i64| {
        let set = store.writer.write(move |connection| {
            let page_count: i64 =
                connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            let most = if pages == 0 { page_count + 3 } else { pages };
            connection.pragma_update(None, "max_page_count", most)?;
            Ok(())
        });
        set.await.unwrap();
    };
    limit(0).await;
    let all = (1..200).map(|index| store.create(new(index, &[index])));
    let made = futures_util::future::join_all(all).await;
    assert!(made.iter().any(Result::is_err), "the disk was not full");
    let check = |store: &Store| {
        for (index, made) in (1..200).zip(&made) {
            let stored = store.swap(swap(index).id).unwrap();
            assert_eq!(stored.is_some(), made.is_ok(), "{index}: {made:?}");
        }
    };
    check(&store);
    limit(1_000_000).await;
    store.create(new(900, &[900])).await.unwrap();
    drop(store);
    check(&Store::open(&path).unwrap());
}

/// What the child of the next test does: swaps, each with two coins, an effect and a first transition, until it is killed.
#[test]
fn child_that_writes_until_it_is_killed() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the parent is another run of this test binary"
    )]
    let Some(path) = std::env::var_os("SWAPRIG_TEST_STORE") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::open(Path::new(&path)).unwrap();
        for index in 0.. {
            store
                .create(new(index, &[index * 2, index * 2 + 1]))
                .await
                .unwrap();
            let mut next = swap(index);
            next.phase = Phase::Building;
            next.invoice = Some("invoice".into());
            let effects = vec![Effect::SignFunding];
            store
                .update(&next, false, effects, None, Coins::Spent, None)
                .await
                .unwrap();
            println!("{index}");
        }
    });
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a process that is killed is what this is about"
)]
fn a_kill_in_the_middle_leaves_whole_transactions_only() {
    use std::io::BufRead as _;
    let (_dir, path) = dir();
    for wanted in [3_usize, 17, 40] {
        std::fs::remove_file(&path).ok();
        std::fs::remove_file(path.with_extension("db-wal")).ok();
        std::fs::remove_file(path.with_extension("db-shm")).ok();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::tests::child_that_writes_until_it_is_killed",
                "--nocapture",
            ])
            .env("SWAPRIG_TEST_STORE", &path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let said = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let numbers = said.map(|line| line.unwrap()).filter_map(|line| {
            let digits = line.rsplit(' ').next().unwrap_or_default().to_owned();
            digits.parse::<i64>().ok()
        });
        let last = numbers.take(wanted).last().unwrap();
        // SIGKILL, at whatever it does now.
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Store::open(&path).unwrap();
        let swaps = count(&path, "SELECT COUNT(*) FROM swaps");
        assert!(swaps > last, "{swaps} are there, and {last} was told");
        assert_eq!(count(&path, "SELECT COUNT(*) FROM request_ids"), swaps);
        assert_eq!(count(&path, "SELECT COUNT(*) FROM reservations"), swaps * 2);
        let building = count(&path, "SELECT COUNT(*) FROM swaps WHERE phase = 'building'");
        assert!(building >= swaps - 1, "{building} of {swaps}");
        let spent = "SELECT COUNT(*) FROM reservations WHERE state = 'spent'";
        assert_eq!(count(&path, spent), building * 2);
        let signs = "SELECT COUNT(*) FROM effects WHERE effect LIKE '%SignFunding%'";
        assert_eq!(count(&path, signs), building);
        assert_eq!(
            i64::try_from(store.unsettled().unwrap().len()).unwrap(),
            swaps
        );
        assert_eq!(i64::from(store.next_index().unwrap()), swaps);
        assert_eq!(
            count(
                &path,
                "SELECT COUNT(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"
            ),
            0
        );
    }
}

#[tokio::test]
async fn what_the_operator_set_is_kept() {
    let (_dir, path) = dir();
    let store = Store::open(&path).unwrap();
    let sale = Sale {
        asset: asset(),
        price_msat: 5,
        min: 1,
        max: Some(9),
        coin: 0,
    };
    let dearer = Sale {
        price_msat: 6,
        ..sale
    };
    store.set_sale(sale).await.unwrap();
    store.set_sale(dearer).await.unwrap();
    store.set_paused(asset(), true).await.unwrap();
    store.set_paused(asset(), true).await.unwrap();
    store.set_cursor("liquid", Height(7)).await.unwrap();
    store.raise_index_floor(50).await.unwrap();
    store.raise_index_floor(20).await.unwrap();
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.sales().unwrap(), [dearer]);
    assert_eq!(store.paused().unwrap(), [asset()]);
    assert_eq!(store.cursor("liquid").unwrap(), Some(Height(7)));
    assert_eq!(store.cursor("bitcoin").unwrap(), None);
    assert_eq!(store.next_index().unwrap(), 50);
    store.set_paused(asset(), false).await.unwrap();
    assert!(store.paused().unwrap().is_empty());
}

fn any_phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Reserved),
        Just(Phase::AwaitingPrepay),
        Just(Phase::Building),
        Just(Phase::Funding),
        Just(Phase::Confirmed),
        Just(Phase::PaymentHeld),
        Just(Phase::Paying),
        Just(Phase::AwaitingPayment),
        Just(Phase::AwaitingFunding),
        Just(Phase::Paid),
        Just(Phase::Cancelling),
        Just(Phase::Refunding),
        Just(Phase::Claimed),
        Just(Phase::Refunded),
        Just(Phase::Failed(FailureReason::Invoice)),
        Just(Phase::Failed(FailureReason::Funding)),
        Just(Phase::Failed(FailureReason::Prepay)),
        Just(Phase::Failed(FailureReason::Payment)),
        Just(Phase::Failed(FailureReason::NotFunded)),
    ]
}

fn any_spend() -> impl Strategy<Value = ChainSpend> {
    let spend = prop_oneof![
        any::<[u8; 32]>().prop_map(|bytes| Spend::Claim(Preimage(bytes))),
        Just(Spend::Refund),
        Just(Spend::Cooperative)
    ];
    let depth = prop_oneof![
        Just(Depth::Unseen),
        Just(Depth::Mempool),
        any::<u32>().prop_map(|height| Depth::Block(Height(height)))
    ];
    (any::<u8>(), spend, depth, any::<bool>()).prop_map(|(byte, spend, depth, whole)| ChainSpend {
        txid: txid(byte),
        spend,
        depth,
        whole,
    })
}

prop_compose! {
    fn any_swap()(
        index: u32,
        phase in any_phase(),
        (amount, price) in (0..=i64::MAX as u64, 0..=i64::MAX as u64),
        fee_value in 0..=i64::MAX as u64,
        texts in any::<(Option<String>, Option<String>)>(),
        funding in proptest::option::of((any::<u8>(), any::<u32>(), any::<Option<u32>>(), "[0-9a-f]{0,80}")),
        (never_settle, settle_tried, paid) in any::<(bool, bool, bool)>(),
        held_until: Option<u32>,
        spend in proptest::option::of(any_spend()),
        refund: Option<u8>,
    ) -> Swap {
        let mut made = swap(index);
        made.terms.amount = Units(amount);
        made.terms.price = Msat(price);
        made.terms.fee_value = Sat(fee_value);
        Swap {
            phase,
            invoice: texts.0,
            prepay_invoice: texts.1,
            funding: funding.map(|(byte, vout, fee_vout, raw)| FundingTx { txid: txid(byte), vout, fee_vout, raw }),
            never_settle,
            settle_tried,
            held_until: held_until.map(Height),
            paid,
            spend,
            own_spend: refund.map(txid),
            ..made
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a swap is, it comes back as it was, from memory and from the file.
    #[test]
    fn a_swap_comes_back_as_it_was(made in any_swap(), settled: bool) {
        let (_dir, path) = dir();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let begun = swap(made.index);
        runtime.block_on(async {
            let store = Store::open(&path).unwrap();
            let mut first = new(made.index, &[1]);
            first.swap = Swap { terms: made.terms.clone(), ..begun };
            store.create(first).await.unwrap();
            store.update(&made, settled, Vec::new(), None, Coins::Keep, None).await.unwrap();
        });
        let store = Store::open(&path).unwrap();
        let stored = store.swap(made.id).unwrap().unwrap();
        prop_assert_eq!(&stored.swap, &made);
        prop_assert_eq!(store.by_hash(made.terms.payment_hash).unwrap().unwrap(), stored.clone());
        prop_assert_eq!(store.unsettled().unwrap().len(), usize::from(!settled));
        let of_status = store.page(Kind::LnToLiquid, Some(status(&made)), None, 10).unwrap();
        prop_assert_eq!(of_status, vec![stored]);
    }
}
