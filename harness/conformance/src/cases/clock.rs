//! setmocktime: whose clock it moves, and what a block's time may be.

use serde_json::json;

use super::case;
use crate::Case;
use crate::trial::{Step, Stop, Trial};

pub(super) const CASES: &[Case] = &[case!(
    "clock/mocktime",
    Fresh,
    "setmocktime moves the time of blocks, forward and back",
    mocktime
)];

async fn mocktime(t: &mut Trial<'_>) -> Step<()> {
    let time_of_tip = async |t: &mut Trial<'_>| -> Step<u64> {
        let hash = t.lab.mine(1).await?.remove(0);
        let header = t.node("getblockheader", json!([hash])).await?;
        header["time"]
            .as_u64()
            .ok_or_else(|| Stop("a header has no time".into()))
    };
    let start = time_of_tip(t).await?;
    let day = 86_400;
    t.expect_json(
        "setmocktime",
        &t.node("setmocktime", json!([start + day])).await?,
        &json!(null),
    );
    let next = time_of_tip(t).await?;
    t.expect("a day later", (next - start).to_string(), day.to_string());
    let again = time_of_tip(t).await?;
    t.see(
        "the next block of the same second",
        (again - next).to_string(),
    );
    for _ in 0..12 {
        time_of_tip(t).await?;
    }
    let late = time_of_tip(t).await?;
    t.see("fourteen blocks of one second", (late - next).to_string());
    t.node("setmocktime", json!([start])).await?;
    let back = t
        .reply(
            "generatetoaddress",
            json!([1, t.lab.key.address().to_string()]),
        )
        .await?;
    t.see(
        "a block with the clock set back a day",
        crate::observe::told(&back),
    );
    t.node("setmocktime", json!([late + 10 * day])).await?;
    let ahead = time_of_tip(t).await?;
    t.expect(
        "ten days later",
        (ahead - late).to_string(),
        (10 * day).to_string(),
    );
    let info = t.node("getblockchaininfo", json!([])).await?;
    t.expect_json(
        "in initial block download",
        &info["initialblockdownload"],
        &json!(false),
    );
    t.node("setmocktime", json!([0])).await?;
    let uptime = t.reply("uptime", json!([])).await?;
    t.see("uptime", crate::observe::told(&uptime));
    Ok(())
}
