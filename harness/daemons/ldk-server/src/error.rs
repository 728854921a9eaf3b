//! Which gRPC status a failure of the node is.

use ldk_node::NodeError;
use ldk_server_protos::grpc::{Code, Status};

/// A request that cannot be meant.
pub(crate) fn invalid(message: impl Into<String>) -> Status {
    Status::new(Code::InvalidArgument, message)
}

/// The status for an error of the node; upstream's table.
pub(crate) fn from_node(error: NodeError) -> Status {
    use NodeError as E;
    let code = match error {
        E::InvalidAddress
        | E::InvalidSocketAddress
        | E::InvalidPublicKey
        | E::InvalidSecretKey
        | E::InvalidOfferId
        | E::InvalidNodeId
        | E::InvalidPaymentId
        | E::InvalidPaymentHash
        | E::InvalidPaymentPreimage
        | E::InvalidPaymentSecret
        | E::InvalidAmount
        | E::InvalidInvoice
        | E::InvalidOffer
        | E::InvalidRefund
        | E::InvalidChannelId
        | E::InvalidNetwork
        | E::InvalidUri
        | E::InvalidQuantity
        | E::InvalidNodeAlias
        | E::InvalidDateTime
        | E::InvalidFeeRate
        | E::InvalidBlindedPaths
        | E::UriParameterParsingFailed
        | E::AsyncPaymentServicesDisabled => Code::InvalidArgument,
        E::ConnectionFailed
        | E::InvoiceCreationFailed
        | E::InvoiceRequestCreationFailed
        | E::OfferCreationFailed
        | E::RefundCreationFailed
        | E::PaymentSendingFailed
        | E::InvalidCustomTlvs
        | E::ProbeSendingFailed
        | E::ChannelCreationFailed
        | E::ChannelClosingFailed
        | E::ChannelSplicingFailed
        | E::ChannelConfigUpdateFailed
        | E::DuplicatePayment
        | E::InsufficientFunds
        | E::UnsupportedCurrency
        | E::LiquidityFeeTooHigh => Code::FailedPrecondition,
        E::AlreadyRunning
        | E::NotRunning
        | E::PersistenceFailed
        | E::FeerateEstimationUpdateFailed
        | E::FeerateEstimationUpdateTimeout
        | E::WalletOperationFailed
        | E::WalletOperationTimeout
        | E::GossipUpdateFailed
        | E::GossipUpdateTimeout
        | E::TxSyncFailed
        | E::TxSyncTimeout
        | E::OnchainTxCreationFailed
        | E::OnchainTxSigningFailed
        | E::LiquidityRequestFailed
        | E::LiquiditySourceUnavailable => Code::Internal,
    };
    Status::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_code() {
        let cases = [
            (NodeError::InvalidInvoice, Code::InvalidArgument),
            (NodeError::InvalidCustomTlvs, Code::FailedPrecondition),
            (NodeError::InsufficientFunds, Code::FailedPrecondition),
            (NodeError::NotRunning, Code::Internal),
        ];
        for (error, code) in cases {
            assert_eq!(from_node(error), Status::new(code, error.to_string()));
        }
    }
}
