# Everything here is also one plain cargo command; see README.md.

# Boot real worlds and run every scenario.
e2e *ARGS:
    cargo run --quiet -- run scenarios/ {{ARGS}}

# The same, and keep the run directories.
e2e_keep *ARGS:
    cargo run --quiet -- run scenarios/ --keep {{ARGS}}

# One scenario by name, such as `just scenario lightning/pay-invoice`.
scenario NAME *ARGS:
    cargo run --quiet -- run scenarios/{{NAME}}.scenario.toml {{ARGS}}

# All tests.
test *ARGS:
    cargo test --workspace {{ARGS}}

# Formatting, lints, licences.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    command -v cargo-deny >/dev/null && cargo deny check || echo "cargo-deny is not installed: licences not checked"

# Format the code.
fmt:
    cargo fmt --all

# What CI runs.
ci:
    .ci/run
