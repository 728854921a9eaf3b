//! `swaprig server`: the swap server.

use super::Exit;

pub(super) use swaprig::api::ServerArgs;

pub(super) fn server(args: ServerArgs) -> Exit {
    match swaprig::api::run(args) {
        Ok(()) => Exit::Passed,
        Err(error) => {
            eprintln!("swaprig server: {}", swaprig_harness::error_chain(&error));
            match error {
                swaprig::api::ServerError::Config(_) => Exit::Usage,
                swaprig::api::ServerError::Broken(_) => Exit::Failed,
                swaprig::api::ServerError::Start(_) | swaprig::api::ServerError::System(_) => {
                    Exit::Environment
                }
            }
        }
    }
}
