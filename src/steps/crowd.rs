//! Many calls for swaps at once.

use std::collections::HashSet;
use std::time::Duration;

use swaprig_proto::v1;
use swaprig_proto::v1::swap_service_client::SwapServiceClient;
use swaprig_scenarios::lang::{AssetOf, LiquidAmount, ServerName, StepCx};
use swaprig_scenarios::run::{FailureKind, Look, Run, Step, StepFailure};
use swaprig_scenarios::{entity, step};
use tonic::transport::Endpoint;

use super::buyer::code_name;
use crate::client::Seed;

/// More would only measure the machine.
const MOST: u64 = 1_000;

entity! {
    /// What became of many calls for swaps.
    pub struct Crowd("crowd") {
        known {
            /// How many swaps were made: different ones, however many calls were answered with the same.
            made: u64,
            /// How many calls were refused.
            refused: u64,
        }
        late {}
        live {}
        private {}
    }
}

impl Look for Crowd {}

step! {
    /// Asks a swap server for many swaps at once. Nobody pays them: the keys that could claim are thrown away. To count how
    /// many are made; a swap that is to be gone on with is made by `create_swap`.
    pub struct CreateSwaps("create_swaps") -> Crowd {
        /// From which server.
        create_swaps: ServerName,
        /// How much each.
        amount: LiquidAmount,
        /// How many calls.
        count: u64,
    } optional {
        /// Of which asset.
        asset: AssetOf = AssetOf::Lbtc,
        /// Whether all of them are one request, with one `request_id`.
        same: bool = false,
        /// The gRPC code with which calls may be refused; left out, none may be.
        refused_with: Option<String> = None,
    }
    within Duration::from_secs(30);
    check asks_for_some;
}

fn asks_for_some(step: &CreateSwaps, cx: &mut StepCx<'_>) -> bool {
    if (1..=MOST).contains(&step.count) {
        return step.amount.fits(&step.asset, cx);
    }
    let span = cx.value_span("count");
    cx.problem(span, format!("expected a number from 1 to {MOST}"))
        .label("so many calls")
        .help("write count = 8");
    false
}

impl CreateSwaps {
    fn requests(&self, run: &Run<'_>, asset: &str, amount: u64) -> Vec<v1::CreateSwapRequest> {
        let new = || {
            let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = run.random.bytes();
            let claimer = Seed::from_bytes(run.random.bytes()).claim_pubkey(0);
            v1::CreateSwapRequest {
                request_id: uuid::Builder::from_random_bytes(id).into_uuid().to_string(),
                asset_id: asset.to_owned(),
                amount,
                claim_pubkey: claimer.to_string(),
                ..v1::CreateSwapRequest::default()
            }
        };
        let count = usize::try_from(self.count).unwrap_or_default();
        match self.same {
            true => vec![new(); count],
            false => std::iter::repeat_with(new).take(count).collect(),
        }
    }
}

impl Step for CreateSwaps {
    async fn run(&self, run: &Run<'_>) -> Result<Crowd, StepFailure> {
        let server = &self.create_swaps.0;
        let amount = run.liquid_amount(&self.asset, &self.amount).await?;
        let url = format!("http://{}", run.world.grpc_target(server)?.address);
        let endpoint =
            Endpoint::from_shared(url).map_err(|e| StepFailure::refused(e.to_string()))?;
        let client = SwapServiceClient::new(endpoint.connect_lazy());
        let requests = self.requests(run, &amount.asset.to_string(), amount.parts);
        let calls = requests.into_iter().map(|request| {
            let mut client = client.clone();
            async move { client.create_swap(request).await }
        });
        let answers = run.deadline.bound(futures_util::future::join_all(calls));
        let answers = answers.await.ok_or_else(|| {
            let title = format!(
                "{server} did not answer all of {} calls in time",
                self.count
            );
            StepFailure {
                kind: FailureKind::TimedOut,
                ..StepFailure::refused(title)
            }
        })?;
        let mut made = HashSet::new();
        let mut refused = 0;
        for answer in answers {
            match answer {
                Ok(reply) => match reply.into_inner().swap {
                    Some(swap) => drop(made.insert(swap.swap_id)),
                    None => return Err(StepFailure::refused(format!("{server} told no swap"))),
                },
                Err(status) if self.refused_with.as_deref() == Some(&code_name(status.code())) => {
                    refused += 1;
                }
                Err(status) => {
                    let (code, words) = (code_name(status.code()), status.message());
                    let title = format!("{server} says {code}: {words}");
                    return Err(StepFailure::refused(title));
                }
            }
        }
        Ok(Crowd {
            made: made.len() as u64,
            refused,
        })
    }
}
